"""Images that are built once, and containers of them."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from image.container import Container, container
from image.network import Network, network
from image.store import Store, copy_context, why_not
from image.world import World, standing_in


@pytest.fixture(scope="session")
def store() -> Iterator[Store]:
    """A store of images; MUSABI_IMAGE_CACHE names a folder to keep it in."""
    if (reason := why_not()) is not None:
        pytest.skip(reason)
    kept = os.environ.get("MUSABI_IMAGE_CACHE")
    folder = Path(kept) if kept else Path(tempfile.mkdtemp(prefix="musabi-image-"))
    folder.mkdir(parents=True, exist_ok=True)
    made = Store(folder)
    try:
        made.add_base()
        yield made
    finally:
        made.run("rm", "--all")
        if not kept:
            made.run("rmi", "--all", "--force")
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def context(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the builder is given: this checkout's files, whatever state they are in."""
    return copy_context(tmp_path_factory.mktemp("context"))


@pytest.fixture(scope="session")
def slim(store: Store, context: Path) -> str:
    return store.build(context, "slim")


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    """What is mounted as /workspace."""
    folder = tmp_path / "volume"
    folder.mkdir()
    return folder


@pytest.fixture
def boot(store: Store, slim: str, volume: Path) -> Iterator[Callable[..., Container]]:
    """Boot a container of `slim` with the variables given.

    `image`, `on` (the volume), `net` and `prepare` (called with the root before the boot) replace the usual ones.
    """
    with contextlib.ExitStack() as stack:

        def boot(
            image: str = slim,
            on: Path = volume,
            net: Network | None = None,
            prepare: Callable[[Path], None] | None = None,
            **environment: str,
        ) -> Container:
            return stack.enter_context(container(store, image, on, environment, net, prepare))

        yield boot


@pytest.fixture
def world() -> Iterator[World]:
    """A network with stand-ins for what a bootstrap fetches from."""
    with network() as net, standing_in(net) as made:
        yield made
