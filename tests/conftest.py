"""What every test starts from."""

import signal

import pytest

# A shell that runs the tests in the background has SIGINT ignored, which their children would inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start what takes minutes first: as the last one it would be waited for by the other processes."""
    items.sort(key=lambda item: item.get_closest_marker("minutes") is None)
