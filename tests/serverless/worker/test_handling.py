"""A job as Runpod delivers it, without Runpod's SDK: what is answered, and what becomes of a worker in doubt."""

import asyncio
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from musabi.serverless.attempt import processes_of, start
from musabi.serverless.job_folder import JobFolder
from musabi.serverless.places import Places
from musabi.serverless.worker.handling import Handling, job_environment, to_its_end
from musabi.serverless.worker.posts import Posts
from peers import standin_runner

STANDIN = Path(__file__).parents[2] / "peers" / "standin_work_for_worker.py"
TOKEN = "hf_markedtokenofarequest12345"


class Bench:
    """A worker's handling, and what it said and posted."""

    def __init__(self, root: Path) -> None:
        self.posted: list[Any] = []
        self.said: list[str] = []
        self.ended = threading.Event()
        self.handling = Handling(
            Places(root),
            {"PATH": os.environ["PATH"]},
            lambda _job, progress: self.posted.append(progress),
            (sys.executable, str(STANDIN)),
            patience_s=1.0,
            end_worker=self.ended.set,
            say=self.said.append,
        )

    def folder(self, name: str) -> JobFolder:
        return JobFolder(self.handling.places.jobs / name)

    def do(self, given: Any, job_id: str = "one") -> dict[str, Any]:
        return asyncio.run(self.handling({"id": job_id, "input": given}))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    one = Bench(tmp_path / "volume")
    yield one
    for path in (tmp_path / "volume" / "jobs").glob("*"):
        for pid in list(processes_of(JobFolder(path))):
            os.kill(pid, signal.SIGKILL)


def test_success_and_failure_are_answered_as_the_job_left_them(bench: Bench) -> None:
    good = {"status": "success", "job_id": "one", "output": {"download_url": None}}
    assert bench.do({"standin": {"answer": good}}) == good
    bad = {"status": "failed", "error": "No images/videos found in directory", "errors": []}
    assert bench.do({"standin": {"answer": bad}}, "two") == bad


@pytest.mark.parametrize(
    ("said", "doubtful"),
    [
        ("RuntimeError: CUDA error: an illegal memory access was encountered", True),
        ("uncorrectable ECC error encountered", True),
        ("torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB", False),
        ("RuntimeError: CUDA error: out of memory", False),
        ("ValueError: no images", False),
    ],
)
def test_a_worker_whose_gpu_is_in_doubt_is_replaced(bench: Bench, said: str, doubtful: bool) -> None:
    answer = bench.do({"standin": {"answer": {"status": "failed", "error": "Training failed."}, "log": said}})
    assert bool(answer.get("refresh_worker")) is doubtful and answer["error"] == "Training failed."


def test_a_job_that_went_well_leaves_no_doubt_whatever_its_log_says(bench: Bench) -> None:
    assert "refresh_worker" not in bench.do({"standin": {"log": "CUDA error: it was tried again"}})


def test_a_full_disk_leaves_doubt(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("musabi.serverless.worker.doubt.FULL_BYTES", 1 << 62)
    assert bench.do({"standin": {}})["refresh_worker"] is True
    assert any("disk" in line and "is full" in line for line in bench.said)


def test_what_a_job_leaves_running_is_ended_before_it_is_answered(bench: Bench) -> None:
    answer = bench.do({"standin": {"child": True, "seconds": 0.3}})
    assert answer["status"] == "success" and not list(processes_of(bench.folder("one")))


def test_errors_are_words_without_secrets_or_tracebacks(bench: Bench, tmp_path: Path) -> None:
    deep: Any = {}
    for _ in range(100):
        deep = {"more": deep}
    blocked = bench.handling.places.jobs / "blocked"
    blocked.parent.mkdir(parents=True)
    blocked.write_text("not a folder")
    answers = [
        bench.do(None),
        bench.do("text", "two"),
        bench.do(deep, "three"),
        bench.do({"standin": {"code": -9}}, "four"),
        bench.do({"standin": {"code": 3}}, "five"),
        bench.do({"output": {"huggingface": {"token": TOKEN}}}, "blocked"),
        bench.do({"standin": {}}, "../../etc/x" * 40),
    ]
    assert [answer["status"] for answer in answers] == ["failed"] * 6 + ["success"]
    for answer in answers[:6]:
        assert answer["error"] and "Traceback" not in str(answer) and TOKEN not in str(answer)
    assert TOKEN not in "".join(bench.said)
    assert "killed" in answers[3]["error"] and "exit code 3" in answers[4]["error"]
    assert [path.name for path in tmp_path.iterdir()] == ["volume"]  # an id is no way out of it


def test_a_job_that_is_stopped_again_and_again_still_saves_its_state(bench: Bench) -> None:
    async def stop_twice() -> None:
        task = asyncio.create_task(
            bench.handling({"id": "one", "input": {"standin": {"seconds": 60, "save_s": 0.5, "log": "x"}}})
        )
        while not bench.folder("one").progress():
            await asyncio.sleep(0.02)
        for _ in range(4):
            task.cancel()
            await asyncio.sleep(0.1)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (bench.folder("one").path / "state.json").exists() and not bench.ended.is_set()

    asyncio.run(stop_twice())


def test_a_worker_that_is_in_doubt_after_a_stopped_job_ends(bench: Bench) -> None:
    async def stop() -> None:
        job = {"id": "one", "input": {"standin": {"seconds": 60, "log": "CUDA error: device-side assert"}}}
        task = asyncio.create_task(bench.handling(job))
        while not bench.folder("one").progress():
            await asyncio.sleep(0.02)
        task.cancel()
        await asyncio.wait([task])

    asyncio.run(stop())
    assert bench.ended.is_set()


def test_a_job_that_a_killed_worker_left_at_work_is_ended_before_it_goes_on(bench: Bench) -> None:
    given, folder = {"standin": {"seconds": 60, "once": True}}, bench.folder("one")
    folder.make("one", given)
    _, left = start(folder, {}, bench.handling.environ, bench.handling.command)
    while not folder.progress():
        time.sleep(0.02)
    assert bench.do(given)["tries"] == 2
    assert left.wait(timeout=5) == 130 and (folder.path / "state.json").exists()


def test_a_job_that_another_worker_is_at_work_on_is_waited_for_and_its_answer_given(bench: Bench) -> None:
    folder, answer = bench.folder("one"), {"status": "success", "job_id": "one"}
    folder.make("one", {})
    with folder.alone() as mine:  # flock(2) is of the open file, so this holds against this very process, too
        assert mine
        given: list[dict[str, Any]] = []
        worker = threading.Thread(target=lambda: given.append(bench.do({})))
        worker.start()
        time.sleep(0.6)
        assert worker.is_alive()
        folder.finish(answer)
    worker.join(timeout=10)
    assert given == [answer] and folder.result() == answer
    assert not (folder.path / "seen.json").exists(), "no process of its own was started"


def test_two_that_wait_for_a_job_and_wake_together_both_answer_for_it(bench: Bench) -> None:
    assert bench.do({"standin": {"held": True}}) == {"status": "success", "tries": 2, "steps": 0}
    folder = bench.folder("two")
    folder.make("two", {"standin": {"held": True}})
    given: list[dict[str, Any]] = []
    with folder.alone() as mine:
        assert mine
        worker = threading.Thread(target=lambda: given.append(bench.do(folder.request, "two")))
        worker.start()
        while not any("waiting" in line for line in bench.said):
            time.sleep(0.02)
    deadline = time.monotonic() + 10  # the first to wake has it, and this one's process finds that
    while not (folder.path / "seen.json").exists() and time.monotonic() < deadline:
        time.sleep(0.002)
    folder.finish({"status": "success", "by": "the other"})
    worker.join(timeout=10)
    assert given == [{"status": "success", "by": "the other"}]


def test_the_hub_is_told_of_a_job_whose_process_was_killed(bench: Bench) -> None:
    asked = {"standin": {"code": -9}, "output": {"huggingface": {"token": TOKEN}}}
    answer = bench.do(asked)
    said = json.loads((bench.folder("one").path / "said.json").read_text())
    assert said == {"secrets": ["output.huggingface.token"], "error": answer["error"]}
    assert "killed" in answer["error"] and bench.folder("one").result() == answer
    bench.do({"standin": {"answer": {"status": "failed", "error": "by itself"}}}, "two")
    assert not (bench.folder("two").path / "said.json").exists()


def test_a_trainer_whose_job_was_killed_saves_before_it_is_ended(bench: Bench) -> None:
    runner = [sys.executable, standin_runner.__file__, str(bench.folder("one").path)]
    bench.handling = replace(bench.handling, patience_s=20.0)
    answer = bench.do({"standin": {"starts": runner}})
    assert "killed" in answer["error"]
    assert (bench.folder("one").path / "saved").exists()
    assert not list(processes_of(bench.folder("one")))


def test_a_worker_that_fails_at_looking_on_leaves_no_process_behind(bench: Bench) -> None:
    def refuse(_job: dict[str, Any], _progress: dict[str, Any]) -> None:
        raise RuntimeError("can't start new thread")

    answer = asyncio.run(
        replace(bench.handling, post=refuse)({"id": "one", "input": {"standin": {"seconds": 30}}})
    )
    assert "RuntimeError" in answer["error"]
    assert list(processes_of(bench.folder("one"))) == []


def test_the_same_job_goes_on_and_another_input_begins_anew(bench: Bench) -> None:
    assert bench.do({"standin": {"code": 9}})["status"] == "failed"
    assert bench.do({"standin": {"code": 9}})["status"] == "failed"
    assert bench.folder("one").phases() == {"tries": 2}
    bench.folder("one").progress_file.write_text('{"message": "of the earlier try"}')
    assert bench.do({"standin": {"code": 9}})["status"] == "failed" and bench.posted == []
    assert bench.do({"standin": {}, "model_type": "flux"})["tries"] == 1
    assert bench.folder("one.earlier-1").phases() == {"tries": 3}


def test_the_job_gets_the_environment_without_the_workers_keys() -> None:
    kept = {"HF_TOKEN": "a", "RUNPOD_POD_ID": "b", "MUSABI_SECRET_HF": "c", "PATH": "d"}
    dropped = {
        "RUNPOD_AI_API_KEY": "e",
        "RUNPOD_API_KEY": "f",
        "RUNPOD_WEBHOOK_GET_JOB": "g",
        "RUNPOD_WEBHOOK_PING": "h",
    }
    assert job_environment(kept | dropped) == kept


def test_progress_is_posted_seldom_only_when_new_and_one_at_a_time() -> None:
    posted: list[dict[str, Any]] = []

    def post(_job: dict[str, Any], progress: dict[str, Any]) -> None:
        threading.Thread(target=lambda: (time.sleep(0.2), posted.append(progress))).start()

    posts = Posts(post, "one", every_s=0.05)
    for number in range(40):
        posts.look({"message": "step", "step": number // 4, "t": number})
        time.sleep(0.02)
    posts.settle()
    assert 2 <= len(posted) <= 5
    steps = [body["step"] for body in posted]
    assert steps == sorted(set(steps))
    posts.look({"message": "step", "step": steps[-1], "t": 99})
    posts.settle()
    assert len(posted) == len(steps)


def test_progress_is_not_posted_more_often_than_asked_for() -> None:
    posted: list[Any] = []
    posts = Posts(lambda _job, progress: posted.append(progress), "one", every_s=0.2)
    began = time.monotonic()
    for number in range(25):
        posts.look({"message": "step", "step": number})
        time.sleep(0.02)
    assert 2 <= len(posted) <= 1 + (time.monotonic() - began) / 0.2


def test_work_in_a_thread_is_waited_for_even_when_cancelled() -> None:
    done = threading.Event()

    async def cancelled() -> None:
        task = asyncio.create_task(to_its_end(lambda: (time.sleep(0.2), done.set())))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert done.is_set()

    asyncio.run(cancelled())
