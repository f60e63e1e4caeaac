"""The worker under Runpod's own SDK, in a process of its own, against a stand-in for the platform's queue.

What does a job is a stand-in program; the queue, the SDK, the worker and the ending of processes are not.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from musabi.commands import submit, watching_jobs
from musabi.errors import MusabiError
from musabi.serverless.attempt import processes_of
from musabi.serverless.job_folder import JobFolder
from musabi.serverless.worker.runpod_worker import serve
from peers.loopback_runpod_queue import KEY, WORKER, WORKER_KEY, LoopbackQueue, running_queue

SECOND = "worker2marked"
PROGRAM = Path(__file__).parents[2] / "peers" / "worker_with_standin_work.py"
TOKEN = "hf_markedtokenofarequest12345"
EVERY_SECONDS = 0.3
PATIENCE_SECONDS = 1.0

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("runpod-worker")]


class Worker:
    """A worker process, and where its jobs lie."""

    def __init__(self, process: subprocess.Popen[bytes], root: Path, log: Path) -> None:
        self.process = process
        self.root = root
        self.log = log

    def folder(self, job_id: str) -> JobFolder:
        return JobFolder(self.root / "jobs" / job_id)

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=15)

    def said(self) -> str:
        return self.log.read_text()


@contextmanager
def worker_of(queue: LoopbackQueue, folder: Path, name: str = WORKER) -> Iterator[Worker]:
    """Yield a worker that takes the queue's jobs; it is ended with the block, and so is what it left."""
    root, log = folder / "volume", folder / f"{name}.txt"
    environ = {
        **{name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ},
        **queue.environment,
        "RUNPOD_POD_ID": name,
        "HOME": str(folder / "home"),
        "ENDPOINT_ROOT": str(root),
        "RUNPOD_SKIP_AUTO_SYSTEM_CHECKS": "true",
        "RUNPOD_SKIP_GPU_CHECK": "true",
        "HF_TOKEN": "hf_tokenoftheendpoint123",
    }
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, str(PROGRAM), str(EVERY_SECONDS), str(PATIENCE_SECONDS)],
            env=environ,
            cwd=folder,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    worker = Worker(process, root, log)
    try:
        yield worker
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # the SDK's heartbeat, too, which outlives a killed worker
        process.wait()
        for path in (root / "jobs").glob("*"):
            for pid in list(processes_of(JobFolder(path))):
                os.kill(pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def station(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LoopbackQueue, Worker]]:
    """A queue and a worker that the tests share: starting one takes seconds."""
    with running_queue() as queue, worker_of(queue, tmp_path_factory.mktemp("station")) as worker:
        yield queue, worker


@pytest.fixture(scope="module")
def second(station: tuple[LoopbackQueue, Worker]) -> Iterator[Worker]:
    """A second worker of the same queue, on the same volume."""
    queue, worker = station
    with worker_of(queue, worker.root.parent, SECOND) as one:
        yield one


def test_a_job_is_done_and_its_progress_never_follows_its_answer(
    station: tuple[LoopbackQueue, Worker],
) -> None:
    queue, worker = station
    given = {
        "model_type": "qwen",
        "standin": {"seconds": 1.0, "tell_s": 0.02},
        "output": {"huggingface": {"token": TOKEN}},
    }
    ids = [queue.submit(given), queue.submit({"standin": {"seconds": 0.31}})]
    queue.slow_progress_s = 0.7
    for one in ids:
        job = queue.wait(one, "COMPLETED")
        assert job.output["status"] == "success" and job.error is None
    time.sleep(1.5 * queue.slow_progress_s)
    for one in ids:
        progress, answer = queue.posts(one)[:-1], queue.posts(one)[-1]
        assert progress and all(body["status"] == "IN_PROGRESS" for body in progress)
        assert answer.get("status") != "IN_PROGRESS" and answer["output"]["status"] == "success"
        steps = [body["output"]["step"] for body in progress]
        assert steps == sorted(set(steps))
    queue.slow_progress_s = 0.0
    assert len(queue.posts(ids[0])) <= 2 + 1.0 / EVERY_SECONDS + 1  # not one for each of its 50 steps
    assert any(ids[0] in ping for ping in queue.pings)

    seen = json.loads((worker.folder(ids[0]).path / "seen.json").read_text())
    assert seen["secrets"] == ["output.huggingface.token"]
    assert "HF_TOKEN" in seen["environment"] and "RUNPOD_POD_ID" in seen["environment"]
    assert not [name for name in seen["environment"] if "WEBHOOK" in name or name == "RUNPOD_AI_API_KEY"]
    written = b"".join(path.read_bytes() for path in worker.root.rglob("*") if path.is_file())
    assert TOKEN.encode() not in written and TOKEN not in worker.said()
    assert WORKER_KEY not in worker.said() and "Handler output" not in worker.said()


def test_a_failure_makes_the_job_fail_and_a_broken_gpu_replaces_the_worker(
    station: tuple[LoopbackQueue, Worker],
) -> None:
    queue, _ = station
    cuda = {
        "status": "failed",
        "error": "Training failed.",
        "output": "RuntimeError: CUDA error: unspecified",
    }
    plain = queue.submit({"standin": {"answer": {"status": "failed", "error": "No images."}}})
    broken = queue.submit({"standin": {"answer": cuda}})
    shapeless = queue.submit(["no", "object"])
    for one in (plain, broken, shapeless):
        queue.wait(one, "FAILED")
    assert queue.posts(plain)[-1] == {"output": {"status": "failed"}, "error": "No images."}
    assert queue.posts(broken)[-1]["stopPod"] is True
    assert "no JSON object" in str(queue.jobs[shapeless].error)
    assert "Traceback" not in json.dumps(queue.posted)


def test_a_cancelled_job_saves_its_state_and_is_not_answered(station: tuple[LoopbackQueue, Worker]) -> None:
    queue, worker = station
    job = queue.submit({"standin": {"seconds": 60, "save_s": 0.4, "child": True, "once": True}})
    queue.wait_for(lambda: len(queue.posts(job)) > 0)
    queue.cancel(job)
    asked, posts, folder = time.monotonic(), len(queue.posts(job)), worker.folder(job)
    while not folder.stop_file.exists() and time.monotonic() - asked < 20:
        time.sleep(0.01)
    assert time.monotonic() - asked < 10  # not when the job would have ended by itself, after 60 s
    queue.retry(job)  # Runpod refuses that after a cancellation; the worker goes on with it all the same
    assert queue.wait(job, "COMPLETED").output["tries"] == 2
    assert json.loads((folder.path / "state.json").read_text()) == {"saved": True, "why": "ended_by_runpod"}
    assert not list(processes_of(folder))
    told = [body for body in queue.posts(job)[posts:] if body.get("status") == "IN_PROGRESS"]
    assert len(told) <= 1  # one that was under way; the second try is too short for any


def test_a_job_that_timed_out_and_will_not_end_is_killed_once_patience_is_over(
    station: tuple[LoopbackQueue, Worker],
) -> None:
    queue, worker = station
    job = queue.submit(
        {"standin": {"seconds": 60, "stubborn": True, "child": True}}, policy={"executionTimeout": 500}
    )
    queue.wait(job, "TIMED_OUT")
    queue.wait(queue.submit({"standin": {}}), "COMPLETED")
    assert not list(processes_of(worker.folder(job)))
    assert all(body.get("status") == "IN_PROGRESS" for body in queue.posts(job))


def test_a_worker_that_is_unfit_says_why_and_takes_no_job(tmp_path: Path) -> None:
    (tmp_path / "volume").mkdir()
    (tmp_path / "volume" / "models").write_text("not a folder")
    with running_queue() as queue, worker_of(queue, tmp_path) as worker:
        job = queue.submit({"standin": {}})
        assert worker.process.wait(timeout=30) == 1
        assert "models_folder_is_there" in worker.said() and "Move what is there away" in worker.said()
        assert queue.jobs[job].state == "IN_QUEUE" and "models" in queue.unhealthy[0]


def test_submitted_jobs_fan_out_over_the_workers_and_are_watched_from_one_table(
    station: tuple[LoopbackQueue, Worker], second: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue, _ = station
    queue.wait_for(lambda: queue.takers >= {WORKER, SECOND}, 30)
    queue.jobs.clear()
    request = tmp_path / "robot.json"
    dataset = {"type": "precaptioned", "images_url": "https://example.com/images.zip"}
    request.write_text(json.dumps({"input": {"model_type": "qwen", "dataset": dataset}}))
    monkeypatch.setenv("MUSABI_API_KEY", KEY)
    monkeypatch.setenv("MUSABI_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setattr(watching_jobs, "LOOK_SECONDS", 0.2)
    app = typer.Typer()
    submit.register(app)
    app.callback()(lambda: None)
    words = ["submit", str(request), "--endpoint", queue.url, "--count", "4", "--wait"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0 and "4 done." in done.output, (done.output, done.exception)
    found = [json.loads((second.folder(one).request_file).read_text())["input"] for one in queue.jobs]
    assert sorted(given["training"]["seed"] for given in found) == [42, 43, 44, 45]
    assert {job.worker for job in queue.jobs.values()} == {WORKER, SECOND}


def test_a_worker_that_ends_saves_its_job_and_another_one_goes_on(
    station: tuple[LoopbackQueue, Worker], second: Worker
) -> None:
    queue, _ = station
    both = [queue.submit({"standin": {"seconds": 60, "save_s": 0.3, "once": True}}) for _ in range(2)]
    queue.wait_for(lambda: all(queue.posts(one) for one in both))
    job, other = sorted(both, key=lambda one: queue.jobs[one].worker != SECOND)
    assert second.end() == 0
    state = json.loads((second.folder(job).path / "state.json").read_text())
    assert state == {"saved": True, "why": "shutdown"}
    assert all(body.get("status") == "IN_PROGRESS" for body in queue.posts(job))
    queue.worker_is_gone(job)
    queue.cancel(other)
    done = queue.wait(job, "COMPLETED")
    assert done.worker == WORKER and done.deliveries == 2 and done.output["tries"] == 2


@pytest.mark.parametrize(
    ("environ", "words"),
    [({}, "musabi serve"), ({"RUNPOD_WEBHOOK_GET_JOB": "http://127.0.0.1:9/"}, r"musabi\[serverless\]")],
)
def test_where_it_cannot_run_it_says_what_to_do(
    environ: dict[str, str], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "runpod", None)
    monkeypatch.setenv("RUNPOD_LOG_LEVEL", "INFO")
    with pytest.raises(MusabiError, match=words):
        serve(environ)
