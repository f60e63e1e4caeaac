"""The queue on the page: what waits, and the verbs that change it."""

import os
from pathlib import Path
from typing import Any

import pytest

from musabi.errors import RequestError
from musabi.job.queue import JobState, Queue, folder_of
from musabi.watch.page.train import TRAIN
from musabi.watch.page.train_queue import add_words, clear_words, queue_part, remove_words, run_words
from small.page import Browser, make_scene
from small.standing import HOSTILE


def test_jobs_are_listed_with_what_can_be_done_about_them(tmp_path: Path) -> None:
    scene = make_scene(tmp_path)
    queue = Queue(folder_of(scene.space))
    assert "Empty." in queue_part(scene, {})
    first = queue.add(HOSTILE, tmp_path / "job.toml", "")
    shown = queue_part(scene, {})
    assert "waiting" in shown and 'data-verb="queue-run"' in shown and 'data-verb="queue-clear"' not in shown
    assert "<script>" not in shown and "<img" not in shown
    queue.save(
        first.model_copy(
            update={"state": JobState.FAILED, "ended": 1.0, "message": "No GPU & no <b>luck</b>."}
        )
    )
    shown = queue_part(scene, {})
    assert "No GPU &amp; no &lt;b&gt;luck&lt;/b&gt;." in shown
    assert 'data-verb="queue-clear"' in shown and 'data-verb="queue-run"' not in shown
    with queue.carried_out():
        assert "being carried out" in queue_part(scene, {})


def test_a_job_that_runs_can_not_be_removed(tmp_path: Path) -> None:
    scene = make_scene(tmp_path)
    queue = Queue(folder_of(scene.space))
    queue.add("robot", tmp_path / "job.toml", "")
    assert 'data-verb="queue-remove"' in queue_part(scene, {})
    queue.begin(1, None)
    assert 'data-verb="queue-remove"' not in queue_part(scene, {})


@pytest.mark.parametrize("number", ["", "--ended", "-1", "1 2", "1.0", "x", None, "²", "1" * 20])
def test_only_a_number_is_removed(number: Any, tmp_path: Path) -> None:
    with pytest.raises(RequestError):
        remove_words(make_scene(tmp_path), {"number": number})


def test_the_verbs_words(tmp_path: Path) -> None:
    scene = make_scene(tmp_path)
    assert remove_words(scene, {"number": "3"}) == ["queue", "remove", "3"]
    assert clear_words(scene, {}) == ["queue", "remove", "--ended"]
    assert run_words(scene, {}) == ["queue", "run", "--detach"]
    file = scene.space.root / "jobs" / "robot.toml"
    assert add_words(scene, {"values": {"output_name": "robot"}}) == ["queue", "add", str(file)]


def test_the_form_goes_into_the_queue_and_out_again(tmp_path: Path) -> None:
    environ: dict[str, Any] = dict(os.environ)
    scene = make_scene(tmp_path, **environ)
    page = Browser(scene, (TRAIN,))
    added = page.change("/do", {"verb": "queue-add", "values": {"output_name": "robot", "seed": "7"}})
    assert added.json()["ok"], added.text
    (job,) = Queue(folder_of(scene.space)).jobs()
    assert (
        job.output_name == "robot" and "seed = 7" in Queue(folder_of(scene.space)).job_file(job).read_text()
    )
    assert page.change("/do", {"verb": "queue-remove", "number": "1"}).json()["ok"]
    assert Queue(folder_of(scene.space)).jobs() == []
