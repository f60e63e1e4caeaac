"""Jobs and GPUs: who runs where, what is taken up after a restart, how jobs are called off and ended."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from musabi.identity import identity
from musabi.job.record import process_start
from musabi.serverless.attempt import MARK, last_attempt, mark_of
from musabi.serverless.job_folder import JobFolder
from musabi.serverless.queue.going import Going
from musabi.serverless.queue.states import State
from musabi.serverless.queue.verdict import MOST_RESTARTS, Ended, verdict
from musabi.whole import read_json, write_json
from peers import standin_runner
from peers.endpoint_house import TOKEN, House, house


def is_gone(pid: int) -> bool:
    return process_start(pid) is None


def kill(home: House, job_id: str) -> None:
    """Kill the process at work on a job as the kernel does where memory is short."""
    attempt = last_attempt(home.folder(job_id))
    assert attempt is not None
    os.kill(attempt.pid, signal.SIGKILL)


def abandon(home: House) -> None:
    """End a server as kill -9 does: nothing is asked to end, nothing is noted."""
    for going in home.dispatcher._going.values():
        if going.process is not None:
            going.process.returncode = 0  # it is another's child from now on
    home.dispatcher._going.clear()
    home.store.close()


def test_a_job_runs_and_its_answer_and_progress_are_kept(tmp_path: Path) -> None:
    with house(tmp_path) as home:
        job_id = home.submit("steps=3 each=0.05")
        home.until(lambda: "output" in home.service.status(job_id))
        assert home.service.status(job_id)["output"]["message"].startswith("Training epoch")
        status = home.until_ended(job_id)[0]
        assert status["status"] == "COMPLETED" and status["output"]["status"] == "success"
        assert status["executionTime"] >= 100
        items = [one["output"] for one in home.service.stream(job_id)["stream"]]
        assert items[-1] == status["output"] and items[0]["phase"] == "training"
        assert home.service.stream(job_id)["stream"] == []


def test_each_gpu_has_one_job_and_the_others_wait(tmp_path: Path) -> None:
    with house(tmp_path, gpus=2) as home:
        ids = [home.submit("steps=4 each=0.05") for _ in range(5)]
        home.dispatcher.tick()
        assert home.dispatcher.running == 2
        for _ in range(3):
            home.dispatcher.tick()
        assert home.dispatcher.running == 2 and home.store.counts()[State.IN_QUEUE] == 3
        home.until_ended(*ids)
        assert sorted({home.attempts(one)[0]["gpu"] for one in ids}) == ["0", "1"]
        starts = [job.first_started or 0.0 for one in ids if (job := home.store.get(one))]
        assert len(starts) == 5 and starts == sorted(starts), "first come, first served"


def test_the_gpus_that_the_server_was_given_are_the_ones_it_gives(tmp_path: Path) -> None:
    with house(tmp_path, gpus=2, CUDA_VISIBLE_DEVICES="3,5") as home:
        ids = [home.submit("steps=2 each=0.05") for _ in range(2)]
        home.until_ended(*ids)
        assert sorted(home.attempts(one)[0]["gpu"] for one in ids) == ["3", "5"]


def test_a_machine_without_a_gpu_does_one_job_at_a_time(tmp_path: Path) -> None:
    with house(tmp_path) as home:
        assert home.dispatcher.slots == 1


def test_secrets_reach_the_process_by_its_standard_input_and_nothing_else(tmp_path: Path) -> None:
    with house(tmp_path) as home:
        job_id = home.submit("steps=2 each=0.05")
        files = home.secret_files()
        assert [path.stat().st_mode & 0o777 for path in files] == [0o600]
        assert files[0].parent.stat().st_mode & 0o777 == 0o700
        home.until_ended(job_id)
        attempt = home.attempts(job_id)[0]
        assert attempt["secrets"] == {"output.huggingface.token": TOKEN}
        assert "MUSABI_API_KEY" not in attempt["environment"]
        (home.folder(job_id).path / "standin.json").unlink()
        assert home.secret_files() == [], "a job that went well needs its secrets no more"
        on_disk = [
            path for path in tmp_path.rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()
        ]
        assert on_disk == []


def test_a_job_that_fails_keeps_its_words_and_can_be_sent_again(tmp_path: Path) -> None:
    with house(tmp_path) as home:
        job_id = home.submit("steps=1 fail")
        status = home.until_ended(job_id)[0]
        assert status["status"] == "FAILED"
        assert status["error"] == status["output"]["error"] == "The stand-in was told to fail."
        assert home.service.retry(job_id, {}) == {"id": job_id, "status": "IN_QUEUE"}
        status = home.until_ended(job_id)[0]
        assert status["retries"] == 1
        assert [one["secrets"] for one in home.attempts(job_id)] == [{"output.huggingface.token": TOKEN}] * 2


def test_what_a_job_said_at_an_earlier_try_is_not_told_again(tmp_path: Path) -> None:
    with house(tmp_path) as home:
        job_id = home.submit("steps=1 fail")
        home.until_ended(job_id)
        home.service.retry(job_id, {})
        status = home.until_ended(job_id)[0]
        assert home.service.stream(job_id)["stream"] == [{"output": status["output"]}]


def test_a_process_that_breaks_down_goes_on_where_it_was(tmp_path: Path) -> None:
    with house(tmp_path) as home:
        job_id = home.submit("steps=9 each=0.01 crash=2")
        status = home.until_ended(job_id)[0]
        assert status["status"] == "COMPLETED"
        assert [one["from"] for one in home.attempts(job_id)] == [0, 2, 4]


def test_a_process_that_always_breaks_down_is_given_up(tmp_path: Path) -> None:
    with house(tmp_path) as home:
        job_id = home.submit("steps=99 crash=99")
        status = home.until_ended(job_id)[0]
        assert status["status"] == "FAILED" and "broke down 4 times" in status["error"]
        assert len(home.attempts(job_id)) == MOST_RESTARTS + 1
        told = read_json(home.folder(job_id).path / "said.json")
        assert told == {"secrets": {"output.huggingface.token": TOKEN}, "error": status["error"]}
        assert home.folder(job_id).result() == status["output"]


def test_what_a_killed_process_left_behind_is_ended_before_the_gpu_is_given_on(tmp_path: Path) -> None:
    with house(tmp_path) as home:
        job_id = home.submit("steps=3 each=0.05 child")
        child = home.folder(job_id).path / "child.json"
        home.until(child.exists)
        pid = read_json(child)["pid"]
        home.until_ended(job_id)
        assert is_gone(pid)


def test_a_trainer_whose_job_was_killed_saves_before_the_gpu_is_given_on(tmp_path: Path) -> None:
    folder = JobFolder(tmp_path / "one")
    folder.path.mkdir()
    command = [sys.executable, standin_runner.__file__, str(folder.path)]
    environ = {"PATH": os.environ["PATH"], MARK: mark_of(folder)}
    with subprocess.Popen(command, env=environ) as runner:
        until = time.monotonic() + 20
        while not (folder.path / "started").exists() and time.monotonic() < until:
            time.sleep(0.02)
        going = Going("one", 0, folder, None, 0.0)
        while not going.is_over() and time.monotonic() < until:
            time.sleep(0.05)
            runner.poll()
        assert (folder.path / "saved").exists() and runner.wait(timeout=5) == 0


def test_a_job_that_cannot_be_started_fails_in_words(tmp_path: Path) -> None:
    with house(tmp_path) as home:
        job_id = home.submit()
        home.folder(job_id).path.parent.mkdir(parents=True)
        home.folder(job_id).path.write_text("a file where the folder should be")
        status = home.until_ended(job_id)[0]
        assert status["status"] == "FAILED" and "File exists" in status["error"]


def test_a_running_job_is_cancelled_at_once_and_its_process_saves(tmp_path: Path) -> None:
    with house(tmp_path) as home:
        job_id = home.submit("steps=999 each=0.02 save=0.3")
        home.until(lambda: home.folder(job_id).phases())
        assert home.service.cancel(job_id) == {"id": job_id, "status": "CANCELLED"}
        assert home.service.status(job_id)["status"] == "CANCELLED"
        home.dispatcher.tick()
        assert home.dispatcher.running == 1, "its process is still saving"
        status = home.until_ended(job_id)[0]
        assert status["status"] == "CANCELLED" and "asked to end: cancelled" in status["error"]
        assert home.service.retry(job_id, {})["status"] == "IN_QUEUE"
        home.until(lambda: len(home.attempts(job_id)) == 2)
        assert home.attempts(job_id)[1]["from"] > 0, "it goes on from what it saved"


def test_a_process_that_does_not_listen_is_ended_after_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("musabi.serverless.attempt.TERM_SECONDS", 0.2)
    with house(tmp_path) as home:
        object.__setattr__(home.dispatcher._work, "patience_s", 0.2)
        job_id = home.submit("steps=999 each=0.02 deaf")
        home.until(lambda: home.attempts(job_id))
        home.service.cancel(job_id)
        status = home.until_ended(job_id)[0]
        assert status["status"] == "CANCELLED" and status["error"] == "The job was cancelled."
        assert is_gone(home.attempts(job_id)[0]["pid"])


def test_a_job_that_takes_longer_than_its_policy_is_timed_out(tmp_path: Path) -> None:
    with house(tmp_path) as home:
        job_id = home.submit("steps=999 each=0.02", policy={"executionTimeout": 5000})
        home.until(lambda: home.attempts(job_id))
        real = time.time
        home.store.now = lambda: real() + 4
        home.dispatcher.tick()
        assert home.service.status(job_id)["status"] == "IN_PROGRESS"
        home.store.now = lambda: real() + 6
        status = home.until_ended(job_id)[0]
        assert status["status"] == "TIMED_OUT" and "timed_out" in status["error"]


def test_without_a_policy_there_is_no_limit(tmp_path: Path) -> None:
    with house(tmp_path) as home:
        job_id = home.submit("steps=999 each=0.02")
        home.until(lambda: home.attempts(job_id))
        real = time.time
        home.store.now = lambda: real() + 8 * 86400
        home.dispatcher.tick()
        assert home.service.status(job_id)["status"] == "IN_PROGRESS"


def test_a_ttl_that_is_over_ends_the_job_and_forgets_it(tmp_path: Path) -> None:
    with house(tmp_path) as home:
        job_id = home.submit("steps=999 each=0.02", policy={"ttl": 10_000})
        home.until(lambda: home.attempts(job_id))
        pid = home.attempts(job_id)[0]["pid"]
        real = time.time
        home.store.now = lambda: real() + 11
        home.until(lambda: not home.dispatcher.running)
        assert home.store.get(job_id) is None and is_gone(pid)


def test_a_server_that_ends_lets_its_jobs_save_and_they_go_on_at_the_next_start(tmp_path: Path) -> None:
    with house(tmp_path) as home:
        job_id = home.submit("steps=30 each=0.02")
        waiting = home.submit("steps=1")
        home.until(lambda: home.folder(job_id).phases().get("step", 0) >= 3)
        assert home.dispatcher.shut_down() == 0
        assert home.folder(job_id).asked_to_stop() == "shutdown"
        assert home.service.status(job_id)["status"] == "IN_PROGRESS"
    with house(tmp_path) as home:
        statuses = home.until_ended(job_id, waiting)
        assert [one["status"] for one in statuses] == ["COMPLETED", "COMPLETED"]
        assert home.attempts(job_id)[1]["from"] >= 3
        assert home.attempts(job_id)[1]["secrets"] == {"output.huggingface.token": TOKEN}
        job = home.store.get(job_id)
        assert job is not None and job.restarts == 0, "a restart of the server is nobody's fault"


def test_a_job_that_outlived_a_killed_server_is_taken_up(tmp_path: Path) -> None:
    home = House(tmp_path)
    job_id = home.submit("steps=20 each=0.03")
    home.until(lambda: home.attempts(job_id))
    abandon(home)
    with house(tmp_path) as home:
        home.dispatcher.tick()
        assert home.dispatcher.running == 1
        assert home.until_ended(job_id)[0]["status"] == "COMPLETED"
        assert len(home.attempts(job_id)) == 1
    os.waitpid(home.attempts(job_id)[0]["pid"], 0)


def test_an_answer_that_came_while_no_server_ran_is_found(tmp_path: Path) -> None:
    home = House(tmp_path)
    job_id = home.submit("steps=1")
    home.until(lambda: home.folder(job_id).result() is not None or home.dispatcher.progress_of(job_id))
    abandon(home)
    deadline = time.monotonic() + 10
    while home.folder(job_id).result() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    os.waitpid(home.attempts(job_id)[0]["pid"], 0)
    with house(tmp_path) as home:
        assert home.until_ended(job_id)[0]["status"] == "COMPLETED"
        assert len(home.attempts(job_id)) == 1


def test_a_job_of_a_container_that_is_gone_goes_on_and_says_which_secrets_it_lacks(tmp_path: Path) -> None:
    home = House(tmp_path)
    job_id = home.submit("steps=9 each=0.05 fail")
    home.until(lambda: home.folder(job_id).phases().get("step", 0) >= 2)
    kill(home, job_id)
    abandon(home)
    os.waitpid(home.attempts(job_id)[0]["pid"], 0)
    attempt = read_json(home.folder(job_id).attempt_file)
    write_json(home.folder(job_id).attempt_file, attempt | {"container": "another " + identity()})
    for path in home.secret_files():
        path.unlink()
    with house(tmp_path) as home:
        status = home.until_ended(job_id)[0]
        assert home.attempts(job_id)[1]["from"] >= 2 and home.attempts(job_id)[1]["secrets"] == {}
        job = home.store.get(job_id)
        assert job is not None and job.restarts == 0
        assert "output.huggingface.token" in status["error"] and "/retry" in status["error"]
        brought = {"input": {"output": {"huggingface": {"token": TOKEN}}}}
        home.service.retry(job_id, brought)
        home.until_ended(job_id)
        assert home.attempts(job_id)[-1]["secrets"] == {"output.huggingface.token": TOKEN}


def test_folders_of_ended_jobs_are_removed_and_their_answers_stay(tmp_path: Path) -> None:
    with house(tmp_path, ENDPOINT_KEEP_HOURS="1") as home:
        failed = home.submit("steps=1 fail")
        home.until_ended(failed)
        runs = home.submit("steps=999 each=0.02")
        home.until(lambda: home.attempts(runs))
        real = time.time
        home.store.now = lambda: real() + 3700
        home.dispatcher._reap_at = 0.0
        home.until(lambda: not home.folder(failed).path.exists())
        home.until(lambda: not list(home.options.places.jobs.glob(".removing-*")))
        assert home.folder(runs).path.exists()
        assert home.service.status(failed)["error"] == "The stand-in was told to fail."
        assert len(home.secret_files()) == 1


def test_the_queue_goes_on_after_a_disk_that_was_full(tmp_path: Path) -> None:
    with house(tmp_path) as home:
        home.dispatcher.start()
        real = home.store._run

        def full(*_: object, **__: object) -> list[object]:
            raise OSError(28, "No space left on device")

        home.store._run = full  # type: ignore[method-assign,assignment]
        time.sleep(0.7)
        home.store._run = real  # type: ignore[method-assign]
        assert any("No space left" in text for text in home.said)
        assert sum("No space left" in text for text in home.said) == 1
        job_id = home.submit()
        deadline = time.monotonic() + 10
        while home.service.status(job_id)["status"] != "COMPLETED" and time.monotonic() < deadline:
            time.sleep(0.05)
        assert home.service.status(job_id)["status"] == "COMPLETED"


SUCCESS, FAILED = {"status": "success"}, {"status": "failed", "error": "x"}


@pytest.mark.parametrize(
    ("ended", "do", "state"),
    [
        (Ended(State.IN_PROGRESS, SUCCESS, None), "finish", State.COMPLETED),
        (Ended(State.IN_PROGRESS, SUCCESS, "shutdown", closing=True), "finish", State.COMPLETED),
        (Ended(State.IN_PROGRESS, FAILED, None), "finish", State.FAILED),
        (Ended(State.IN_PROGRESS, FAILED, "timed_out"), "finish", State.TIMED_OUT),
        (Ended(State.CANCELLED, FAILED, None), "finish", State.CANCELLED),
        (Ended(State.CANCELLED, None, None), "finish", State.CANCELLED),
        (Ended(State.IN_PROGRESS, None, "cancelled"), "finish", State.CANCELLED),
        (Ended(State.TIMED_OUT, None, "timed_out"), "finish", State.TIMED_OUT),
        (Ended(State.IN_PROGRESS, None, "shutdown"), "again", State.IN_PROGRESS),
        (Ended(State.IN_PROGRESS, None, None, closing=True), "again", State.IN_PROGRESS),
        (Ended(State.IN_PROGRESS, None, None, restarts=9, elsewhere=True), "again", State.IN_PROGRESS),
        (Ended(State.IN_PROGRESS, None, None, restarts=2), "again", State.IN_PROGRESS),
        (Ended(State.IN_PROGRESS, None, None, restarts=3), "finish", State.FAILED),
    ],
)
def test_what_becomes_of_a_job_whose_process_has_ended(ended: Ended, do: str, state: State) -> None:
    found = verdict(ended)
    assert (found.do, found.state) == (do, state)


def test_a_job_that_is_cancelled_as_it_ends_and_sent_again_still_has_its_secrets(tmp_path: Path) -> None:
    with house(tmp_path) as home:
        job_id = home.submit("steps=2")
        home.dispatcher.tick()
        deadline = time.monotonic() + 10
        while home.folder(job_id).result() is None:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        home.service.cancel(job_id)
        home.service.retry(job_id, {})
        assert home.until_ended(job_id)[0]["status"] == State.COMPLETED
        assert [one["secrets"] for one in home.attempts(job_id)] == [{"output.huggingface.token": TOKEN}] * 2
