"""The check behind the page: begun by a change, at most once at a time, its findings on the very files."""

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from musabi.watch.page import dataset_captioning, dataset_check, dataset_findings
from musabi.watch.page.dataset import DATASET
from musabi.watch.page.dataset_check import Checked, checker, fingerprint, read_answer
from musabi.watch.page.dataset_findings import headline, summary
from musabi.watch.page.html import render
from musabi.watch.page.scene import Scene
from small.page import Browser, make_scene, plain_view

NASTY = '<b>"x"\'.png'


def dataset(folder: Path) -> Scene:
    """Return a workspace with a dataset: two images alike, one without a caption, one that is none."""
    scene = make_scene(folder)
    images = scene.space.images
    images.mkdir(parents=True)
    for name, colour in (("a.png", "navy"), ("b.png", "navy"), (NASTY, "red")):
        picture = Image.new("RGB", (96, 64), colour)
        picture.paste("white", (0, 0, 20 + 30 * (colour == "red"), 20))
        picture.save(images / name)
        (images / name).with_suffix(".txt").write_text("ohwx")
    (images / NASTY).with_suffix(".txt").unlink()
    (images / "torn.png").write_bytes((images / "a.png").read_bytes()[:60])
    (images / "torn.txt").write_text("ohwx")
    lines = (
        "[[datasets]]",
        "resolution = 64",
        "enable_bucket = true",
        'caption_extension = ".txt"',
        f'image_directory = "{images}"',
        f'cache_directory = "{scene.space.cache}"',
    )
    scene.space.dataset_config.write_text("\n".join(lines) + "\n")
    return scene


def waited(scene: Scene, seconds: float = 60) -> Checked:
    """Look as a page does until the check has ended."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        found = checker(scene).newest()
        if found.at and not checker(scene).working:
            return found
        time.sleep(0.05)
    raise AssertionError("the check did not end")


def test_findings_stand_on_the_very_files_and_are_said_in_words(tmp_path: Path) -> None:
    scene = dataset(tmp_path)
    by_file = waited(scene).by_file
    found = {name.rpartition("/")[2]: each for name, each in by_file.items()}
    assert all(name.startswith("dataset/images/") for name in by_file)
    assert next((one.level, one.message) for one in found[NASTY]) == ("error", "no caption")
    assert found["torn.png"][0].level == "error"
    assert "the same file twice" in [one.message for one in found["a.png"]]

    browser = Browser(scene, (plain_view(routes=dataset_findings.ROUTES),))
    answer = browser.get("/findings").json()
    assert answer["files"][f"dataset/images/{NASTY}"][0] == {"level": "error", "words": "no caption"}
    assert (answer["headline"], answer["level"]) == ("2 errors would stop a training.", "bad")

    parts = {name: part(scene, {}) for name, part in DATASET.parts.items()}
    assert "2 errors would stop a training." in parts["check"] and 'data-verb="mend"' in parts["check"]
    assert "2 images" in parts["buckets"] and "<svg" in parts["buckets"]
    assert parts["duplicates"].count('data-bin="dataset/images/') == 2
    for html in parts.values():
        assert "<b>" not in html


class Counted:
    """Stands in for the child: how often it ran, and how many at a time at most. Its work takes `seconds`."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.runs = self.most = self._now = 0
        self._seconds = seconds
        self._lock = threading.Lock()

    def __call__(self, _scene: Scene) -> Checked:
        with self._lock:
            self.runs, self._now = self.runs + 1, self._now + 1
            self.most = max(self.most, self._now)
        time.sleep(self._seconds)
        with self._lock:
            self._now -= 1
        return Checked(at=time.time())


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    counter = Counted(0.05)
    monkeypatch.setattr(dataset_check, "checked", counter)
    monkeypatch.setattr(dataset_check, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(dataset_check, "SETTLE_SECONDS", 0.02)
    return counter


def look_for(scene: Scene, seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        checker(scene).newest()
        time.sleep(0.01)


def test_an_unchanged_dataset_is_checked_once_and_a_changed_one_again(
    tmp_path: Path, counted: Counted
) -> None:
    scene = dataset(tmp_path)
    look_for(scene, 0.3)
    assert counted.runs == 1
    (scene.space.images / "a.txt").write_text("another caption")
    look_for(scene, 0.4)
    assert counted.runs == 2
    checker(scene).ask()
    look_for(scene, 0.3)
    assert counted.runs == 3


def test_many_looks_at_once_make_one_check(tmp_path: Path, counted: Counted) -> None:
    scene = dataset(tmp_path)
    checker(scene)
    threads = [threading.Thread(target=look_for, args=(scene, 0.3)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (counted.runs, counted.most) == (1, 1)


def test_an_empty_dataset_starts_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = make_scene(tmp_path)
    monkeypatch.setattr(dataset_check.children, "start", lambda *_: pytest.fail("a process was started"))
    assert fingerprint(scene) == ""
    assert dataset_check.checked(scene).problem == ""
    assert "No images yet." in render("dataset_check", summary(Checked(at=1.0), working=False))


@pytest.mark.parametrize("change", ["caption", "time", "new", "gone", "toml"])
def test_every_change_of_the_dataset_shows(tmp_path: Path, change: str) -> None:
    scene = dataset(tmp_path)
    before = fingerprint(scene)
    images = scene.space.images
    if change == "caption":
        (images / "a.txt").write_text("longer than before")
    elif change == "time":
        os.utime(images / "a.txt", (1, 1))
    elif change == "new":
        (images / "c.png").write_bytes(b"x")
    elif change == "gone":
        (images / "b.png").unlink()
    else:
        scene.space.dataset_config.write_text(scene.space.dataset_config.read_text() + "num_repeats = 2\n")
    assert fingerprint(scene) != before


def test_a_wrong_dataset_toml_is_said_as_the_verb_says_it(tmp_path: Path) -> None:
    scene = dataset(tmp_path)
    scene.space.dataset_config.write_text("[[datasets]\n")
    found = dataset_check.checked(scene)
    assert "dataset.toml" in found.problem and not found.report
    assert found.problem.split()[0] in render("dataset_check", summary(found, working=False))


@pytest.mark.parametrize("out", ["", "[]", "{", '{"findings": 3}', "null"])
def test_an_answer_that_is_none_is_said(tmp_path: Path, out: str) -> None:
    found = read_answer(make_scene(tmp_path), out, "warm words\nError: <b>no disk</b>\n")
    assert found.problem == "The check ended early: <b>no disk</b>"
    assert "<b>" not in render("dataset_check", summary(found, working=False))


@pytest.mark.parametrize(
    ("levels", "said"),
    [
        ([], ("Ready to train.", "good")),
        (["note"], ("Ready to train.", "good")),
        (["warning", "warning"], ("Ready to train, with 2 warnings.", "warn")),
        (["warning", "error"], ("1 error would stop a training.", "bad")),
    ],
)
def test_the_headline_says_whether_it_can_be_trained_on(levels: list[str], said: tuple[str, str]) -> None:
    assert headline({"findings": [{"level": level} for level in levels]}) == said


def test_checking_again_is_asked_for_with_the_pages_key(tmp_path: Path) -> None:
    browser = Browser(dataset(tmp_path), (plain_view(routes=dataset_findings.ROUTES),))
    assert browser.client.post("/check-again", json={}).status_code == 403
    assert browser.change("/check-again", {}).json()["ok"] is True


def words(given: dict[str, Any], scene: Scene) -> list[str]:
    return dataset_captioning.caption_words(scene, given)


def test_captions_by_a_model_say_why_they_can_not_be_made_here(tmp_path: Path) -> None:
    scene = make_scene(tmp_path)
    scene.memory[dataset_captioning.GPUS] = ()
    html = dataset_captioning.part(scene, {})
    assert "No GPU can be used here" in html and "<button" not in html
    with pytest.raises(dataset_captioning.MachineError, match="No GPU"):
        words({"model": "joycaption"}, scene)
    scene.memory[dataset_captioning.GPUS] = (24 * 1024**3,)
    assert "musabi bootstrap" in dataset_captioning.why_no_captions(scene)


def test_captions_by_a_model_are_the_verb_of_the_command_line(tmp_path: Path) -> None:
    scene = make_scene(tmp_path)
    scene.memory[dataset_captioning.GPUS] = (24 * 1024**3,)
    python = scene.space.checkout / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    assert 'data-verb="caption"' in dataset_captioning.part(scene, {})
    given = {"model": "qwen3-vl", "trigger": " ohwx ", "fetch": True}
    assert words(given, scene) == ["caption", "--with", "qwen3-vl", "--yes", "--trigger", "ohwx", "--fetch"]
    for wrong in (
        {"model": "--help"},
        {"model": "qwen3-vl", "trigger": "--overwrite"},
        {"model": "qwen3-vl", "trigger": "a\nb"},
    ):
        with pytest.raises(dataset_captioning.RequestError):
            words(wrong, scene)


def test_pages_that_open_together_share_one_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = make_scene(tmp_path)
    begin = threading.Barrier(6)

    class Slow(dataset_check.Checker):
        def __init__(self, scene: Scene) -> None:
            time.sleep(0.05)
            super().__init__(scene)

    def look(_: int) -> dataset_check.Checker:
        begin.wait()
        return checker(scene)

    monkeypatch.setattr(dataset_check, "Checker", Slow)
    with ThreadPoolExecutor(6) as pool:
        assert len({id(one) for one in pool.map(look, range(6))}) == 1
