"""The notebook in headless Chromium through the booted pod: Run All, a tab closed in the middle, the status tile."""

import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from musabi.job.lora_file import read_lora
from pod.boot.box import Box, open_box
from pod.boot.box import why_not as why_no_box
from pod.boot.git_host import empty_git_host
from small.chromium import chromium, too_wide
from small.chromium import why_not as why_no_browser

REASON = why_no_browser() or why_no_box()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("notebook-in-a-browser"),
    pytest.mark.skipif(REASON is not None, reason=str(REASON)),
]
TOKEN = "a-token-for-a-test"
LAB = f"http://localhost:8888/lab/tree/notebooks/00_musubi_tuner_runpod.ipynb?token={TOKEN}"
PROGRESS = 'iframe[title="Progress of the run"]'
SECONDS = 180_000
SMALL = {
    "ENGINE": "diffusers",
    "OUTPUT_NAME": "demo",
    "NETWORK_DIM": "4",
    "NETWORK_ALPHA": "4",
    "HF_HOME": "/workspace/.cache/huggingface",
    "JUPYTER_TOKEN": TOKEN,
}


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    with open_box(tmp_path, **SMALL) as made:
        yield made


@pytest.fixture
def demo(box: Box, tiny_models: Path, lay_out: Callable[[Path, Path, Path], None]) -> Box:
    """A container with the small model and five pictures in its workspace."""
    lay_out(box.path("/workspace"), tiny_models, Path("/workspace"))
    return box


def open_notebook(context: Any, width: int = 1440) -> Any:
    page = context.new_page()
    page.set_viewport_size({"width": width, "height": 1000})
    page.goto(LAB, timeout=SECONDS)
    page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=SECONDS)
    page.wait_for_selector("text=/Python 3 .ipykernel. \\| (Idle|Busy|Unknown)/", timeout=SECONDS)
    return page


def run_all(page: Any) -> None:
    page.click('text="Run" >> nth=0')
    page.click('text="Run All Cells"')


def outputs(page: Any) -> str:
    return "\n".join(page.locator(".jp-OutputArea-output").all_inner_texts())


def record(box: Box) -> dict[str, Any]:
    """Return the newest training's record."""
    found = [json.loads(path.read_text()) for path in box.path("/workspace/runs").glob("*/record.json")]
    trainings = [one for one in found if one["plan"].get("schedule")]
    return dict(max(trainings, key=lambda one: one["created"])) if trainings else {}


def test_run_all_goes_from_pictures_to_a_download(demo: Box, tmp_path: Path) -> None:
    demo.start(MAX_TRAIN_EPOCHS="60", SAVE_EVERY_N_EPOCHS="30", SAMPLE_EVERY_N_EPOCHS="30").ready()
    with chromium(tmp_path, beside=demo.holder.pid) as browser:
        context = browser.new_context(accept_downloads=True)
        page = open_notebook(context)
        run_all(page)
        page.wait_for_selector("text=Nothing was stopped", timeout=SECONDS)
        assert "Error" not in outputs(page)
        for number, cell in enumerate(page.locator(".jp-Notebook .jp-CodeCell").all()):
            cell.scroll_into_view_if_needed()
            page.wait_for_timeout(400)
            page.screenshot(path=str(tmp_path / f"cell-{number:02d}.png"))
        lora = demo.path("/workspace/output/comfyui/demo.safetensors")
        with page.expect_download(timeout=60_000) as download:
            page.locator("a[download]", has_text="demo.safetensors").first.click()
        assert Path(download.value.path()).read_bytes() == lora.read_bytes()
        assert read_lora(lora).keys == "comfyui"


def test_a_closed_tab_looks_on_when_it_is_opened_again(demo: Box, tmp_path: Path) -> None:
    demo.start(MAX_TRAIN_EPOCHS="20000", SAVE_EVERY_N_EPOCHS="5000").ready()
    with chromium(tmp_path, beside=demo.holder.pid) as browser:
        context = browser.new_context()
        page = open_notebook(context)
        run_all(page)
        page.wait_for_selector(PROGRESS, state="attached", timeout=SECONDS)
        wait_for_saved(demo)
        page.close()
        before = steps(demo)

        page = open_notebook(context)
        page.wait_for_selector(PROGRESS, state="attached", timeout=SECONDS)
        page.locator(PROGRESS).last.scroll_into_view_if_needed()
        progress = page.frame_locator(PROGRESS).last
        progress.locator("text=/step [0-9,]+ of 60,000/").wait_for(timeout=SECONDS)
        first = progress.locator("main").inner_text()
        page.screenshot(path=str(tmp_path / "opened-again.png"))
        page.wait_for_timeout(6000)
        assert progress.locator("main").inner_text() != first, "it looks on"
        assert record(demo)["state"] == "running" and steps(demo) > before, "the run survived"
        demo.ok("python", "-m", "musabi", "stop", seconds=120)
        progress.locator("text=stopped").first.wait_for(timeout=30_000)
    assert len([one for one in demo.path("/workspace/runs").iterdir() if one.is_dir()]) == 2


def wait_for_saved(box: Box) -> None:
    """Wait until JupyterLab's autosave has written the live progress into the file."""
    notebook = box.path("/workspace/notebooks/00_musubi_tuner_runpod.ipynb")
    deadline = time.monotonic() + 90
    while "musabi.train" not in (text := notebook.read_text()) or text.count("Progress of the run") < 1 or (
        "run?id=demo" not in text or not record(box)
        or f"run?id={record(box)['id']}" not in text
    ):  # fmt: skip
        assert time.monotonic() < deadline, "the notebook was not saved"
        time.sleep(0.5)


def steps(box: Box) -> int:
    """Return how many lines of progress the newest training has written."""
    events = box.path("/workspace/runs") / record(box)["id"] / "events.jsonl"
    return len(events.read_text().splitlines())


def test_a_bootstrap_that_failed_is_on_the_tile_and_jupyterlab_is_up(box: Box, tmp_path: Path) -> None:
    with empty_git_host(box) as host:
        host.answer()
        boot = box.start(
            ENGINE="musubi", RUN_BOOTSTRAP_ON_START="1", MUSUBI_REPO_URL=host.url, SKIP_MODEL_DOWNLOAD="1"
        ).ready()
        boot.wait_for_log("It failed", 120)
    with chromium(tmp_path, beside=box.holder.pid) as browser:
        page = browser.new_page()
        page.goto(f"http://localhost:8888/lab?token={TOKEN}", timeout=SECONDS)
        page.locator(".jp-LauncherCard", has_text="Run page").first.wait_for(timeout=SECONDS)
        page.screenshot(path=str(tmp_path / "launcher.png"))
        for width in (1280, 400):
            page.set_viewport_size({"width": width, "height": 900})
            page.goto("http://localhost:8888/status/", timeout=SECONDS)
            page.wait_for_selector("text=could not be cloned", timeout=60_000)
            text = page.inner_text("main")
            assert "MUSUBI_REPO_URL" in text and "musabi bootstrap in a terminal" in text
            assert too_wide(page) == []
            page.screenshot(path=str(tmp_path / f"tile-{width}.png"), full_page=True)
    shutil.copyfile(boot.log_file, tmp_path / "boot.log")
