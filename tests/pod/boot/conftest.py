"""Boxes for the tests of the boot."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from pod.boot.box import Box, open_box, why_not

REASON = why_not()


@pytest.fixture(scope="session")
def boxes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Box]]:
    """Make boxes; a module that boots one for several tests asks for this."""
    if REASON is not None:
        pytest.skip(REASON)
    with ExitStack() as stack:
        yield lambda **environ: stack.enter_context(open_box(tmp_path_factory.mktemp("box"), **environ))


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    """A container's disk of the test's own."""
    if REASON is not None:
        pytest.skip(REASON)
    with open_box(tmp_path) as made:
        yield made
