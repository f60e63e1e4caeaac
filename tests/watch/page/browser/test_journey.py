"""What a person does with the page, from a zip of pictures to a LoRA on their own disk."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from small.page_server import PageServer, Window

pytestmark = [pytest.mark.slow, pytest.mark.minutes, pytest.mark.xdist_group("run-page-browser")]
NAME = "robots"
TRAINS_MS = 60_000
"""The longest wait for what a training does."""
MANY_EPOCHS = "300"


def newest_record(root: Path) -> dict[str, Any]:
    """Return the record of the newest run."""
    found = sorted(root.glob("runs/*/record.json"), key=lambda path: path.stat().st_mtime)
    return dict(json.loads(found[-1].read_text())) if found else {}


def upload(page: Any, archive: Path, root: Path) -> None:
    """Put a zip into the empty dataset, before the page's script is there, and see its pictures and captions."""
    held: list[Any] = []
    page.route("**/dataset_upload.js", lambda route: held.append(route))
    with page.expect_request("**/dataset_upload.js"):
        page.get_by_role("link", name="Dataset", exact=True).click()
    page.get_by_text("No images yet.").first.wait_for()
    page.get_by_label("Files to upload").set_input_files(archive)
    held[0].continue_()
    page.get_by_role("textbox", name="Caption of robot4.png").wait_for()
    assert page.get_by_role("textbox", name=re.compile("^Caption of")).count() == 5
    assert len(list((root / "dataset" / "images").rglob("*.png"))) == 5


def mend(page: Any, root: Path, name: str, text: str) -> None:
    """Write a caption anew; leaving the field saves it."""
    page.get_by_role("textbox", name=f"Caption of {name}.png").fill(text)
    page.get_by_role("textbox", name=f"Caption of {name}.png").blur()
    page.get_by_text(f"Caption of {name}.png saved").wait_for(state="attached")
    (file,) = (root / "dataset" / "images").rglob(f"{name}.txt")
    assert file.read_text().strip() == text


def start(page: Any) -> None:
    """Fill the form, wait for the plan, start."""
    page.get_by_role("link", name="Train", exact=True).click()
    page.get_by_label("Name of the LoRA").fill(NAME)
    page.get_by_label("Epochs", exact=True).fill(MANY_EPOCHS)
    page.get_by_label("Save every N epochs").fill("5")
    page.get_by_label("Sample every N epochs").fill("5")
    page.get_by_label("Trainer", exact=True).select_option("diffusers")
    page.get_by_label("Command").get_by_text(f"--output-name={NAME}").or_(
        page.get_by_label("Command").get_by_text(NAME)
    ).first.wait_for()
    page.get_by_role("button", name="Start", exact=True).click()
    page.get_by_role("region", name=f"{NAME} goes on").wait_for(timeout=TRAINS_MS)


def be_refused(page: Any, root: Path) -> None:
    """Try to start another training beside it: the page says why that can't be, and nothing is started."""
    page.get_by_label("Name of the LoRA").fill("other")
    page.get_by_label("Command").get_by_text("other").first.wait_for()
    page.get_by_role("button", name="Start", exact=True).click()
    page.get_by_role("status").get_by_text(f"{newest_record(root)['id']} is still running").wait_for()
    assert len(list(root.glob("runs/*/record.json"))) == 1


def watch(page: Any) -> None:
    """Look at the run until its loss is drawn and a checkpoint is there."""
    page.get_by_role("link", name="Charts and samples").click()
    page.get_by_role("heading", name=NAME).wait_for()
    page.get_by_role("progressbar", name="Steps done").wait_for(timeout=TRAINS_MS)
    page.wait_for_function(
        "(name) => new RegExp(`^\\\\d+ % ${name} `).test(document.title)", arg=NAME, timeout=TRAINS_MS
    )
    page.get_by_role("link", name=re.compile("Download .* as trained")).first.wait_for(timeout=TRAINS_MS)


def stop(page: Any, root: Path) -> None:
    """Stop the run, and see that it ended and can go on."""
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Stop now").click()
    page.get_by_role("button", name="Resume").wait_for(timeout=TRAINS_MS)
    assert newest_record(root)["state"] == "stopped"


def resume(page: Any, root: Path) -> None:
    """Go on with it; the page goes to the run that goes on, and that one began where this one ended."""
    first = newest_record(root)
    page.get_by_role("button", name="Resume").click()
    page.get_by_role("button", name="Stop now").wait_for(timeout=TRAINS_MS)
    page.get_by_role("progressbar", name="Steps done").wait_for(timeout=TRAINS_MS)
    record = newest_record(root)
    assert record["resumed_from"] == first["id"]
    assert record["job"] == first["job"]
    assert int(page.get_by_role("progressbar", name="Steps done").get_attribute("value")) >= 15


def compare(page: Any) -> None:
    """Look at two checkpoints under one divider, and move it with the keyboard."""
    page.get_by_role("link", name="Compare two checkpoints").click()
    page.get_by_role("heading", name="Compare").wait_for()
    chosen = "one => one.selectedOptions[0].textContent.trim()"
    sides = [page.get_by_label(f"{side} checkpoint").evaluate(chosen) for side in ("Left", "Right")]
    assert len(set(sides)) == 2
    share = page.get_by_role("slider", name="How much of the left one is shown")
    assert share.input_value() == "50"
    share.press("ArrowRight")
    assert share.input_value() == "51"
    sizes = page.locator(".curtain img").evaluate_all("all => all.map((one) => one.naturalWidth)")
    assert sizes == [64, 64]


def download(page: Any, tmp_path: Path) -> Path:
    """Take a checkpoint home."""
    with page.expect_download(timeout=30_000) as taken:
        page.get_by_role("link", name=re.compile("Download .* as trained")).first.click()
    target = tmp_path / taken.value.suggested_filename
    taken.value.save_as(target)
    return target


def test_from_a_zip_to_a_lora(
    workspace: Path, small: dict[str, str], pictures_zip: Path, tmp_path: Path,
    serve: Callable[..., PageServer], look: Callable[..., Window],
) -> None:  # fmt: skip
    (workspace / "dataset" / "images").mkdir()
    seen = look(serve(workspace, **small))
    page = seen.page
    upload(page, pictures_zip, workspace)
    mend(page, workspace, "robot0", 'ohwx robot waving, <b>bold</b> & "quoted"')
    mend(page, workspace, "robot3", "ohwx robot, cropped \u2603")
    start(page)
    seen.allow("422")
    be_refused(page, workspace)
    watch(page)
    stop(page, workspace)
    taken = download(page, tmp_path)
    assert taken.suffix == ".safetensors"
    resume(page, workspace)
    page.get_by_role("link", name="Compare two checkpoints").wait_for(timeout=TRAINS_MS)
    compare(page)
