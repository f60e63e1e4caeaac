"""The run page in headless Chromium: one browser a module, servers on workspaces with the small model."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from small.chromium import chromium, why_not
from small.model import PROMPT, SMALL, TOML, draw_images
from small.page_server import PageServer, Window, page_server, window

GROUP = "run-page-browser"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """These tests share a browser and a model: one process has them, or none where there is no browser."""
    why = why_not()
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.slow)
            if why is not None:
                item.add_marker(pytest.mark.skip(reason=why))


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The browser. While it is there an event loop runs, in which no test of asyncio can start its own."""
    with chromium(tmp_path_factory.mktemp("chromium")) as one:
        yield one


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., PageServer]]:
    """Start a server: `serve(root, NAME=value, ...)`."""
    with ExitStack() as stack:

        def start(root: Path, **environ: str) -> PageServer:
            return stack.enter_context(page_server(root, environ))

        yield start


@pytest.fixture
def look(browser: Any) -> Iterator[Callable[..., Window]]:
    """Open a window: `look(server, width=1440, dark=False)`. At the end no console may have complained."""
    windows = []
    with ExitStack() as stack:

        def open_one(server: PageServer, width: int = 1440, **more: Any) -> Window:
            windows.append(stack.enter_context(window(browser, server, width, **more)))
            return windows[-1]

        yield open_one
    assert [line for one in windows for line in one.wrong()] == []


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A workspace without a model, with nothing in the dataset."""
    return lay_out(tmp_path / "ws")


def lay_out(root: Path) -> Path:
    """Make a workspace without a model, with nothing in the dataset."""
    (root / "dataset").mkdir(parents=True)
    text = TOML.format(images=root / "dataset" / "images", cache=root / "dataset" / "cache")
    (root / "dataset" / "dataset.toml").write_text(text)
    (root / "dataset" / "sample_prompts.txt").write_text(PROMPT)
    return root


@pytest.fixture(scope="session")
def pictured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageServer]:
    """A server on a workspace without a model, with pictures in the dataset: each test has its own among them."""
    root = lay_out(tmp_path_factory.mktemp("pictured") / "ws")
    draw_images(root / "dataset" / "images")
    with page_server(root, {}) as server:
        yield server


@pytest.fixture
def workspace(bare: Path, tiny_models: Path) -> Path:
    """A workspace with the small model, an empty dataset and nothing trained."""
    (bare / "models").symlink_to(tiny_models / "models")
    return bare


@pytest.fixture
def small(tiny_models: Path) -> dict[str, str]:
    """The variables of a training that takes seconds."""
    return SMALL | {"HF_HOME": str(tiny_models / "hf")}


@pytest.fixture
def pictures_zip(tmp_path: Path) -> Path:
    """A zip of five pictures with their captions, as a person has it."""
    draw_images(tmp_path / "robots" / "robots")
    return Path(shutil.make_archive(str(tmp_path / "robots"), "zip", tmp_path / "robots"))
