import os
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from musabi.errors import RequestError
from musabi.job.events import Event
from musabi.job.record import RunFolder, RunState
from musabi.watch.report import link, write_report

EVIL = '<script>alert(1)</script>"><img src=x onerror=alert(2)>'


class Page(HTMLParser):
    """What a report holds: its tags with their attributes, and its text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.html = path.read_text(encoding="utf-8")
        self.feed(self.html)
        self.text = re.sub(r"\s+", " ", " ".join(self.words))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def report(world: Any, target: Path | None = None) -> Page:
    return Page(write_report(world.run, target))


def test_the_page_goes_beside_the_output_under_its_name(full_world: Any) -> None:
    assert write_report(full_world.run) == full_world.output / "ohwx_v1-report.html"
    assert [path.name for path in full_world.output.glob(".*")] == []


def test_the_result_and_the_file_to_take_come_first(full_world: Any) -> None:
    page = report(full_world)
    top = page.text[: page.text.index("The job")]
    assert "Trained: 270 steps in 29 min 50 s." in top
    assert "Take this file ohwx_v1.safetensors 3.0 kB" in top
    assert str(full_world.output / "comfyui" / "ohwx_v1.safetensors") in top


def test_nothing_is_fetched_from_anywhere(full_world: Any) -> None:
    page = report(full_world)
    assert not page.all("script")
    assert not page.all("link")
    assert page.all("img")
    assert all(str(image["src"]).startswith("data:image/") for image in page.all("img"))
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", page.html)
    assert "default-src 'none'" in page.html


def test_everything_of_the_run_is_there(full_world: Any) -> None:
    page = report(full_world)
    for words in (
        "Z-Image", "musubi-tuner", "Prodigy", "32 / 16", "1024 \u00d7 1024, in buckets",
        "10 epochs \u00d7 27 steps = 270", "ohwx woman, picture 3, smiling, outdoors", "photo_003.png",
        "ohwx woman, studio portrait, soft window light", "Before training", "Epoch 10",
        "Loss on fixed noise", "ohwx_v1-000004.safetensors", "2.9.1+cu128", "zimage_train_network.py",
        "270 steps / 27 batches an epoch", "the loss fell from 0.6 at step 0",
    ):  # fmt: skip
        assert words in page.text, words
    assert len(page.all("svg")) == 6  # three charts, each for wide and for narrow screens
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert len(page.all("img")) == 9 + 2 * 6


def test_links_lead_to_the_files_below_the_page(full_world: Any) -> None:
    page = report(full_world)
    links = [str(anchor["href"]) for anchor in page.all("a")]
    assert len(links) == 1 + 4 + 2 + 12  # the file to take, epochs, the final pair, the samples
    for href in links:
        assert (full_world.output / unquote(href)).is_file(), href


def test_files_elsewhere_are_named_but_not_linked(full_world: Any, tmp_path: Path) -> None:
    page = report(full_world, tmp_path / "elsewhere" / "page.html")
    assert not page.all("a")
    assert str(full_world.output / "ohwx_v1.safetensors") in page.text


@pytest.mark.parametrize("name", ["javascript:alert(1).png", 'a"b<c>.png', "a#b?c.png", "a b%41.png"])
def test_a_link_is_always_a_path(name: str, tmp_path: Path) -> None:
    href = link(tmp_path / name, tmp_path)
    assert href is not None
    assert href.startswith("./")
    assert not set(href) & set('"<>#? :')
    assert unquote(href) == f"./{name}"


def test_hostile_names_captions_and_prompts_stay_text(
    world: Any, write_events: Any, training_rows: Any
) -> None:
    world.add_image("a.png", EVIL)
    world.add_image('b" onload="alert(3).png', "{{ 7 * 7 }}{% raw %}")
    (world.root / "dataset" / "sample_prompts.txt").write_text(EVIL + "\n")
    samples = [world.add_sample("ohwx_v1_e000001_00_20251009091500_42_000.png")]
    versions = {"torch": EVIL}
    world.record(state=RunState.FAILED, message=EVIL, versions=versions, files=samples)
    write_events(world.logs, training_rows(2, 27))
    page = report(world)
    assert not page.all("script")
    assert len(page.all("img")) == 3
    assert not any(key.startswith("on") for _, attributes in page.tags for key in attributes)
    assert page.text.count("<script>alert(1)</script>") == 4
    assert "{{ 7 * 7 }}{% raw %}" in page.text


def test_missing_pieces_are_said(world: Any) -> None:
    page = report(world)
    for words in (
        "No LoRA file was saved.",
        "No samples were made in this run.",
        "No TensorBoard event files of this run were found",
        "No checkpoint was saved.",
        "0 images with captions",
    ):
        assert words in page.text, words


def test_a_dataset_that_moved_is_said(full_world: Any) -> None:
    full_world.images.rename(full_world.root / "moved")
    page = report(full_world)
    assert "The dataset can't be shown." in page.text
    assert "Trained: 270 steps" in page.text


def test_pictures_and_files_that_broke_or_went_are_said(full_world: Any) -> None:
    (full_world.output / "ohwx_v1.safetensors").unlink()
    sample = full_world.output / "sample" / "ohwx_v1_e000002_00_20251009091500_42_000.png"
    sample.write_bytes(sample.read_bytes()[:60])
    picture = full_world.images / "photo_000.png"
    picture.write_bytes(picture.read_bytes()[:100])
    page = report(full_world)
    assert "no longer there" in page.text
    assert f"{sample.name} can't be read" in page.text
    assert "photo_000.png" in page.text


def test_the_curve_comes_from_the_progress_where_no_event_files_are(world: Any) -> None:
    events = [Event(phase="train", t=1.0, step=step, loss=1 / step) for step in range(1, 30)]
    world.run.events_file.write_text("".join(event.to_json() + "\n" for event in events))
    page = report(world)
    assert "drawn from the progress that the trainer printed" in page.text
    assert len(page.all("svg")) == 2


def test_a_failed_run_names_its_step_message_and_the_way_on(full_world: Any) -> None:
    record = full_world.run.load()
    record.steps[-1].state = "failed"
    message = "The GPU ran out of memory. Set BLOCKS_TO_SWAP=10."
    full_world.record(state=RunState.FAILED, message=message, steps=record.steps)
    page = report(full_world)
    assert "Failed, at step 270 of 270." in page.text
    assert f"Training. {message}" in page.text
    assert "a new run starts from the beginning" in page.text


def test_a_run_whose_runner_is_gone_is_called_interrupted(full_world: Any) -> None:
    full_world.record(state=RunState.RUNNING, ended=None, pid=2**22 + 1, pid_started=1.0)
    assert "went away without a word" in report(full_world).text


def test_tiny_weights_are_named(full_world: Any) -> None:
    full_world.record(versions={"base weights": "tiny, random"})
    assert "were not a real model" in report(full_world).text


def test_secrets_in_commands_are_left_out(full_world: Any) -> None:
    plan = full_world.run.load().plan
    plan["steps"][2]["argv"] = ["python", "train.py", "--wandb_api_key", "hunter2", "--seed", "42"]
    full_world.record(plan=plan)
    page = report(full_world)
    assert "--wandb_api_key ... --seed 42" in page.text
    assert "hunter2" not in page.html


def test_a_resumed_run_shows_the_whole_training(
    full_world: Any,
    write_events: Callable[..., Path],
    training_rows: Callable[..., list[tuple[str, int, float]]],
) -> None:
    earlier = full_world.run.load()
    for path in full_world.logs.rglob("*tfevents*"):
        path.unlink()
    rows = [row for row in training_rows(10, 27) if row[1] <= 150]
    write_events(full_world.logs / "1", rows, opened=earlier.created + 60)
    later = RunFolder(full_world.run.path.parent / "run-2")
    started = earlier.created + 5000
    files = [file for file in earlier.files if file.path.stem == "ohwx_v1"]
    earlier.state, earlier.files = RunState.STOPPED, [file for file in earlier.files if file not in files]
    full_world.run.save(earlier)
    changes = {"id": "run-2", "created": started, "ended": started + 600, "resumed_from": "run-1"}
    changes |= {"start_step": 135, "start_epoch": 5, "state": RunState.DONE, "files": files}
    steps = [step.model_copy(update={"started": started + 10}) for step in earlier.steps]
    later.save(earlier.model_copy(update={**changes, "steps": steps}))
    write_events(full_world.logs / "2", training_rows(10, 27, first=136), opened=started + 20)
    page = Page(write_report(later))
    assert "Resumed once." in page.text
    assert "Trained: 270 steps in 39 min 50 s." in page.text
    assert "Epoch 2" in page.text
    assert "from the first" not in page.text
    assert "in epoch 1 to" in page.text
    assert "0.6 at step 0" in page.text


def test_logs_of_another_run_in_the_same_folder_do_not_count(full_world: Any, write_events: Any) -> None:
    before = report(full_world).html
    other = [("loss/current", step, 9.0) for step in range(1, 400)]
    write_events(full_world.logs / "other", other, opened=full_world.run.load().created + 9000)
    strip = re.compile(r"Report made [^.]*\.")
    assert strip.sub("", report(full_world).html) == strip.sub("", before)


def test_many_images_are_capped_and_counted(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(64):
        world.add_image(f"{number:03d}.png", f"caption {number}", size=(32, 32))
    page = report(world)
    assert len(page.all("img")) == 60
    assert "And 4 more." in page.text
    assert "64 images with captions" in page.text


def test_a_folder_without_a_record_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="holds no run"):
        write_report(RunFolder(tmp_path))


def test_a_write_that_fails_leaves_the_old_page(full_world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    page = write_report(full_world.run)
    before = page.read_bytes()

    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        write_report(full_world.run)
    assert page.read_bytes() == before
    assert [path.name for path in page.parent.glob(".*")] == []
