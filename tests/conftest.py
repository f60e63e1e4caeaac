"""What every test starts from."""

import signal
from pathlib import Path

import pytest

# A shell that runs the tests in the background has SIGINT ignored, which their children would inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start what takes minutes first: as the last one it would be waited for by the other processes."""
    items.sort(key=lambda item: item.get_closest_marker("minutes") is None)


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with models/ and hf/: a small model whose base was fitted for a few steps only."""
    pytest.importorskip("diffusers")
    from small.model import make_small_model

    folder = tmp_path_factory.mktemp("tiny")
    make_small_model(folder / "models", folder / "hf")
    return folder
