"""The queue: its files, and carrying it out with a stand-in for the command that starts a job."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from musabi.errors import RequestError
from musabi.job.queue import JobState, Queue, QueuedJob, folder_of, is_carried_out
from musabi.job.queue_run import QueueRun
from musabi.job.record import RunFolder, RunRecord, RunState, process_start
from musabi.workspace import Workspace

# A stand-in for `musabi run`: it writes the record of a run that has ended as the job file's first word says,
# and a line with its GPU and its options.
START = """
import os, sys
from pathlib import Path
from musabi.job.record import RunFolder, RunRecord
file = Path(sys.argv[2])
root = Path(sys.argv[1])
state, name, seconds = file.read_text().split()
with (root / "said.txt").open("a") as said:
    assert os.environ["MUSABI_QUEUED"] == "1"
    print(name, os.environ.get("CUDA_VISIBLE_DEVICES", "all"), *sys.argv[3:], file=said)
if state == "refused":
    print("Error: The dataset is not there.", file=sys.stderr)
    sys.exit(2)
number = len(list((root / "runs").glob("*")))
folder = RunFolder(root / "runs" / f"{name}-{number}")
folder.path.mkdir(parents=True)
codes = {"done": 0, "failed": 4, "stopped": 143}
folder.save(RunRecord(id=folder.path.name, state=state, job={"output_name": name}, exit_code=codes[state],
    message=None if state == "done" else f"{name} {state}", plan={"schedule": {"steps": 1}}))
import time; time.sleep(float(seconds))
"""


@pytest.fixture
def space(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


@pytest.fixture
def queue(space: Workspace) -> Queue:
    return Queue(folder_of(space))


@pytest.fixture
def carry_out(queue: Queue, tmp_path: Path) -> Callable[..., QueueRun]:
    def make(*places: str | None, **more: object) -> QueueRun:
        script = tmp_path / "start.py"
        script.write_text(START)
        command = (sys.executable, str(script), str(tmp_path))
        environ = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
        made = QueueRun(queue, tmp_path / "runs", command, environ, places=places or (None,), **more)  # type: ignore[arg-type]
        made.carry_out()
        return made

    return make


def add(queue: Queue, name: str, state: str = "done", seconds: float = 0) -> QueuedJob:
    return queue.add(name, Path("job.toml"), f"{state} {name} {seconds}")


def said(tmp_path: Path) -> list[str]:
    return (tmp_path / "said.txt").read_text().splitlines()


def test_jobs_keep_the_order_in_which_they_were_added(queue: Queue) -> None:
    assert [add(queue, name).number for name in ("c", "a", "b")] == [1, 2, 3]
    assert [job.output_name for job in queue.jobs()] == ["c", "a", "b"]
    assert queue.job_file(queue.job(2)).read_text() == "done a 0"


def test_a_name_that_waits_already_is_refused(queue: Queue) -> None:
    add(queue, "a")
    with pytest.raises(RequestError, match="Job 1 of the queue has the OUTPUT_NAME a"):
        add(queue, "a")


def test_many_at_once_get_a_number_each(queue: Queue) -> None:
    threads = [threading.Thread(target=add, args=(queue, f"n{number}")) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert [job.number for job in queue.jobs()] == list(range(1, 13))


def test_a_removed_job_is_gone_and_a_running_one_stays(queue: Queue) -> None:
    add(queue, "a")
    add(queue, "b")
    queue.remove(1)
    assert [job.number for job in queue.jobs()] == [2] and not list(queue.folder.glob("0001*"))
    assert queue.begin(2, None) is not None and queue.begin(2, None) is None
    with pytest.raises(RequestError, match="running"):
        queue.remove(2)
    with pytest.raises(RequestError, match="no job 7"):
        queue.remove(7)


def test_a_file_that_is_no_job_hides_none(queue: Queue) -> None:
    add(queue, "a")
    (queue.folder / "0002.json").write_text('{"number": 0}')
    assert [job.number for job in queue.jobs()] == [1]


def test_a_job_that_fails_does_not_stop_the_next(
    queue: Queue, tmp_path: Path, carry_out: Callable[..., QueueRun]
) -> None:
    for name, state in (("a", "failed"), ("b", "refused"), ("c", "stopped"), ("d", "done")):
        add(queue, name, state)
    told: list[str] = []
    ended = carry_out(tell=lambda job: told.append(f"{job.output_name} {job.state.value}")).ended
    assert [(job.output_name, job.state.value, job.exit_code) for job in ended] == [
        ("a", "failed", 4), ("b", "failed", 2), ("c", "stopped", 143), ("d", "done", 0),
    ]  # fmt: skip
    assert queue.job(2).message == "The dataset is not there." and queue.job(1).message == "a failed"
    assert said(tmp_path)[0] == "a all --detach --wait" and queue.job(4).runs == ["d-2"]
    assert told[:2] == ["a running", "a failed"]
    assert carry_out().ended == []


def test_one_a_gpu_gives_each_job_one_and_the_next_what_is_free_first(
    queue: Queue, tmp_path: Path, carry_out: Callable[..., QueueRun]
) -> None:
    for name, seconds in (("a", 3), ("b", 0), ("c", 0)):
        add(queue, name, seconds=seconds)
    carry_out("0", "3")
    assert sorted(said(tmp_path)) == [
        "a 0 --detach --wait --gpus all",
        "b 3 --detach --wait --gpus all",
        "c 3 --detach --wait --gpus all",
    ]


def left_running(queue: Queue, tmp_path: Path, name: str, state: RunState | None) -> QueuedJob:
    """Leave a job as a queue that was killed leaves it, with the record of its run."""
    job = add(queue, name)
    begun = queue.begin(job.number, None)
    assert begun is not None
    begun.starter = (2**22 + 1, 1.0)
    queue.save(begun)
    if state is not None:
        folder = RunFolder(tmp_path / "runs" / f"{name}-old")
        folder.path.mkdir(parents=True)
        record = RunRecord(
            id=folder.path.name, state=state, job={"output_name": name}, plan={"schedule": {"steps": 1}}
        )
        folder.save(record.model_copy(update={"pid": 2**22 + 1, "pid_started": 1.0}))
    return begun


@pytest.mark.parametrize("state", [RunState.RUNNING, None])
def test_what_was_cut_off_is_taken_up_again_from_what_it_left(
    queue: Queue, tmp_path: Path, carry_out: Callable[..., QueueRun], state: RunState | None
) -> None:
    left_running(queue, tmp_path, "a", state)
    ended = carry_out().ended
    assert said(tmp_path) == ["a all --detach --wait --continue --overwrite"]
    assert ended[0].state is JobState.DONE and len(ended[0].runs) == 1 and ended[0].runs != ["a-old"]


def test_what_ended_while_nobody_carried_the_queue_out_is_not_started_again(
    queue: Queue, tmp_path: Path, carry_out: Callable[..., QueueRun]
) -> None:
    left_running(queue, tmp_path, "a", RunState.DONE)
    assert carry_out().ended[0].state is JobState.DONE
    assert not (tmp_path / "said.txt").exists() and queue.job(1).runs == ["a-old"]


def test_a_run_that_still_goes_on_is_waited_for(
    queue: Queue, tmp_path: Path, carry_out: Callable[..., QueueRun]
) -> None:
    left_running(queue, tmp_path, "a", RunState.RUNNING)
    folder = RunFolder(tmp_path / "runs" / "a-old")
    with subprocess.Popen(["sleep", "60"]) as runner:
        record = RunRecord.model_validate_json(folder.record_file.read_text())
        record.pid, record.pid_started = runner.pid, process_start(runner.pid)
        folder.save(record)
        ending = threading.Timer(
            1.0, lambda: folder.save(record.model_copy(update={"state": RunState.DONE, "exit_code": 0}))
        )
        ending.start()
        ended = carry_out().ended
        runner.kill()
    assert [job.state for job in ended] == [JobState.DONE] and not (tmp_path / "said.txt").exists()


@pytest.mark.parametrize("text", ['{"state": "no such state"}', '{"created": "never"}', "[]", None])
def test_an_odd_record_does_not_end_the_queue(
    queue: Queue, tmp_path: Path, carry_out: Callable[..., QueueRun], text: str | None
) -> None:
    odd = tmp_path / "runs" / "odd"
    odd.mkdir(parents=True)
    (odd / "record.json").write_text(text or "{}")
    begun = left_running(queue, tmp_path, "a", RunState.DONE)
    begun.runs = ["odd", "a-old"]
    if text is None:
        (odd / "record.json").unlink()
    queue.save(begun)
    add(queue, "b")
    assert [job.state for job in carry_out().ended] == [JobState.DONE] * 2


def test_a_record_that_is_damaged_while_its_run_goes_on_ends_that_job_alone(
    queue: Queue, tmp_path: Path, carry_out: Callable[..., QueueRun]
) -> None:
    left_running(queue, tmp_path, "a", RunState.RUNNING)
    add(queue, "b")
    file = RunFolder(tmp_path / "runs" / "a-old").record_file
    record = RunRecord.model_validate_json(file.read_text())
    record.pid, record.pid_started = os.getpid(), process_start(os.getpid())
    RunFolder(file.parent).save(record)
    ended = carry_out(look=lambda _jobs: file.write_text("[]") and None).ended
    assert [job.state for job in ended] == [JobState.FAILED, JobState.DONE]
    assert "gone or no record" in str(ended[0].message)


def test_a_disk_that_fails_for_a_moment_is_said_and_the_queue_goes_on(
    queue: Queue, tmp_path: Path, carry_out: Callable[..., QueueRun]
) -> None:
    add(queue, "a")
    queue.log_file(queue.job(1)).mkdir()  # the log of its start can't be written
    warned: list[str] = []

    def mend(text: str) -> None:
        warned.append(text)
        queue.log_file(queue.job(1)).rmdir()

    ended = carry_out(warn=mend).ended
    assert [job.state for job in ended] == [JobState.DONE] and len(warned) == 1
    assert "goes on" in warned[0] and len(said(tmp_path)) == 1


def test_two_who_carry_it_out_take_turns(space: Workspace, queue: Queue) -> None:
    assert not is_carried_out(space)
    with queue.carried_out() as mine, queue.carried_out(wait=False) as second:
        assert mine and not second and is_carried_out(space)
    assert not is_carried_out(space)


def test_the_lock_goes_with_its_holder(space: Workspace, queue: Queue) -> None:
    code = "import sys,time;from pathlib import Path;from musabi.job.queue import Queue\n"
    code += (
        f"with Queue(Path({str(queue.folder)!r})).carried_out(): print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
        assert is_carried_out(space)
        holder.kill()
        holder.wait(10)
    deadline = time.monotonic() + 5
    while is_carried_out(space) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_carried_out(space)
