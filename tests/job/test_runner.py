"""The runner against a stand-in trainer: outcomes, stopping, pruning, what the record says."""

import json
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from musabi.errors import ExitCode
from musabi.job import events
from musabi.job.engine import Engine
from musabi.job.launch import ask_to_stop, one_start_at_a_time, start_detached
from musabi.job.plan import Step
from musabi.job.record import RunFolder, RunRecord, RunState, process_start
from musabi.job.runner import Runner

RunFactory = Callable[..., RunFolder]
FOREVER = """
import json, time
for step in range(1, 1000):
    print(json.dumps({"phase": "train", "step": step, "steps": 1000}))
    time.sleep(0.05)
"""


def run_to_end(folder: RunFolder, engine: Engine) -> RunRecord:
    """Run in a process of its own, as the product does, and return the record."""
    process = multiprocessing.get_context("fork").Process(target=lambda: Runner(folder, engine).run())
    process.start()
    process.join(60)
    return folder.load()


def wait_for(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def steps_seen(folder: RunFolder) -> int:
    return max((event.step or 0 for event in events.read(folder.events_file)), default=0)


def test_a_run_that_ends_well_says_so(run_folder: RunFactory, stand_in: type) -> None:
    folder = run_folder('print(\'{"phase": "train", "step": 12, "steps": 12}\')')
    record = run_to_end(folder, stand_in())
    assert (record.state, record.exit_code) == (RunState.DONE, 0)
    assert record.steps[0].state == "done"
    assert steps_seen(folder) == 12


def test_a_failed_step_ends_the_run_with_the_engines_words(run_folder: RunFactory, stand_in: type) -> None:
    later = Step("convert", "Convert", ("true",))
    folder = run_folder("raise SystemExit('no memory left')", after=(later,))
    record = run_to_end(folder, stand_in())
    assert record.state is RunState.FAILED
    assert record.exit_code == ExitCode.TRAINER_FAILED
    assert record.message == "Train failed: no memory left"
    assert [outcome.state for outcome in record.steps] == ["failed", "waiting"]
    assert "no memory left" in folder.log_file.read_text()


def test_a_program_that_is_not_there_is_a_failure_with_a_message(
    run_folder: RunFactory, stand_in: type
) -> None:
    folder = run_folder("pass", before=(Step("cache-latents", "Cache", ("/nowhere/python",)),))
    record = run_to_end(folder, stand_in())
    assert record.state is RunState.FAILED
    assert "/nowhere/python" in (record.message or "")


def test_a_fresh_cache_is_skipped_and_said(run_folder: RunFactory, stand_in: type) -> None:
    skipped = Step("cache-latents", "Cache latents", ("false",), skip="all 6 files are fresh")
    record = run_to_end(run_folder("pass", before=(skipped,)), stand_in())
    assert record.state is RunState.DONE
    assert (record.steps[0].state, record.steps[0].message) == ("skipped", "all 6 files are fresh")


def test_stale_files_go_and_the_stamp_stands_before_a_step_starts(
    run_folder: RunFactory, stand_in: type, tmp_path: Path
) -> None:
    stale, stamp = tmp_path / "old.safetensors", tmp_path / "stamp.json"
    stale.write_text("old")
    script = (
        f"import os, sys; sys.exit(os.path.exists({str(stale)!r}) or open({str(stamp)!r}).read() != 'new')"
    )
    cache = Step(
        "cache-latents", "Cache", ("python3", "-c", script), discard=(stale,), stamp=((stamp, "new"),)
    )
    assert run_to_end(run_folder("pass", before=(cache,)), stand_in()).state is RunState.DONE


def test_an_output_gets_its_name_only_when_the_step_is_done(
    run_folder: RunFactory, stand_in: type, tmp_path: Path
) -> None:
    written, final = tmp_path / ".part", tmp_path / "comfyui" / "demo.safetensors"
    good = Step("convert", "Convert", ("touch", str(written)), output=(written, final))
    record = run_to_end(run_folder("pass", after=(good,)), stand_in())
    assert final.exists() and not written.exists()
    assert [(file.kind, file.path) for file in record.files] == [("converted", final)]


def test_a_stop_request_ends_the_whole_process_group(
    run_folder: RunFactory, stand_in: type, tmp_path: Path
) -> None:
    pid_file = tmp_path / "grandchild"
    folder = run_folder(
        "import subprocess, pathlib\n"
        "child = subprocess.Popen(['sleep', '600'])\n"
        f"pathlib.Path({str(pid_file)!r}).write_text(str(child.pid))\n" + FOREVER
    )
    pid = start_detached(folder, folder.load(), stand_in())
    wait_for(lambda: steps_seen(folder) >= 3)
    ask_to_stop(folder)
    os.waitpid(pid, 0)
    record = folder.load()
    assert record.state is RunState.STOPPED
    assert record.exit_code == ExitCode.TERMINATED
    assert "steps are lost" in (record.message or "")
    wait_for(lambda: process_start(int(pid_file.read_text())) is None)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_to_the_runner_means_stop(
    run_folder: RunFactory, stand_in: type, number: signal.Signals, code: int
) -> None:
    folder = run_folder(FOREVER)
    pid = start_detached(folder, folder.load(), stand_in())
    wait_for(lambda: steps_seen(folder) >= 2)
    os.kill(pid, number)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == code
    assert folder.load().exit_code == code


def test_an_engine_that_saves_on_stop_is_given_the_time(
    run_folder: RunFactory, stand_in: type, tmp_path: Path
) -> None:
    state = tmp_path / "output_dir" / "demo-step00000007-state"
    folder = run_folder(
        "import json, pathlib, signal, sys, time\n"
        "def save(*_):\n"
        "    time.sleep(1)\n"
        f"    state = pathlib.Path({str(state)!r}); state.mkdir(parents=True); (state / 'whole').touch()\n"
        "    print(json.dumps({'phase': 'train', 'kind': 'state', 'file': str(state), 'step': 7}))\n"
        "    sys.exit(143)\n"
        "signal.signal(signal.SIGTERM, save)\n"
        "print(json.dumps({'phase': 'train', 'step': 7, 'steps': 12}))\n"
        "time.sleep(600)\n"
    )
    pid = start_detached(folder, folder.load(), stand_in(saves_on_stop=True))
    wait_for(lambda: steps_seen(folder) == 7)
    ask_to_stop(folder)
    os.waitpid(pid, 0)
    record = folder.load()
    assert record.state is RunState.STOPPED
    assert "demo-step00000007-state; nothing is lost" in (record.message or "")
    assert [file.path for file in record.files] == [state]


def test_stop_after_save_waits_for_the_next_state(
    run_folder: RunFactory, stand_in: type, tmp_path: Path
) -> None:
    state = tmp_path / "output_dir" / "demo-000001-state"
    folder = run_folder(
        "import json, pathlib, time\n"
        "for step in range(1, 100):\n"
        "    print(json.dumps({'phase': 'train', 'step': step, 'steps': 100}))\n"
        "    if step == 4:\n"
        "        time.sleep(1.5)\n"
        f"        state = pathlib.Path({str(state)!r}); state.mkdir(parents=True)\n"
        "        print(json.dumps({'phase': 'train', 'kind': 'state', 'file': str(state), 'epoch': 1}))\n"
        "    time.sleep(0.1 if step < 6 else 60)\n"
    )
    pid = start_detached(folder, folder.load(), stand_in())
    wait_for(lambda: steps_seen(folder) >= 4)
    ask_to_stop(folder, after_save=True)
    os.waitpid(pid, 0)
    message = folder.load().message or ""
    assert state.exists() and "The newest state is demo-000001-state" in message


def test_the_state_at_the_end_does_not_cut_off_the_lora_that_comes_after_it(
    run_folder: RunFactory, stand_in: type, tmp_path: Path
) -> None:
    """musubi-tuner's order; a stop after the next state waits for all of it."""
    state, lora = tmp_path / "output_dir" / "demo-state", tmp_path / "output_dir" / "demo.safetensors"
    folder = run_folder(
        "import json, pathlib, time\n"
        "print(json.dumps({'phase': 'train', 'step': 12, 'steps': 12}))\n"
        "time.sleep(1.5)\n"
        f"state = pathlib.Path({str(state)!r}); state.mkdir(parents=True)\n"
        "print(json.dumps({'phase': 'train', 'kind': 'state', 'file': str(state)}))\n"
        "time.sleep(1.5)\n"
        f"pathlib.Path({str(lora)!r}).touch()\n"
    )
    pid = start_detached(folder, folder.load(), stand_in())
    wait_for(lambda: steps_seen(folder) >= 12)
    ask_to_stop(folder, after_save=True)
    os.waitpid(pid, 0)
    record = folder.load()
    assert lora.exists()
    assert (record.state, record.message, record.steps[0].state) == (RunState.DONE, None, "done")


def test_a_stop_after_the_training_names_what_was_not_done(run_folder: RunFactory, stand_in: type) -> None:
    later = Step("convert", "Convert the LoRA", ("sleep", "600"))
    folder = run_folder('print(\'{"phase": "train", "step": 12, "steps": 12}\')', after=(later,))
    pid = start_detached(folder, folder.load(), stand_in())
    wait_for(lambda: [step.state for step in folder.load().steps] == ["done", "running"])
    ask_to_stop(folder)
    os.waitpid(pid, 0)
    record = folder.load()
    assert record.state is RunState.STOPPED
    assert (record.message or "").startswith("The training was done")
    assert (record.message or "").endswith("Not done: Convert the LoRA.")


def test_an_error_that_nobody_foresaw_is_said_too(run_folder: RunFactory, stand_in: type) -> None:
    class Broken:
        def feed(self, text: str) -> list[events.Event]:
            raise ValueError("what is this")

    engine = stand_in()
    engine.parser = lambda step: Broken()
    record = run_to_end(run_folder("print(1)"), engine)
    assert (record.state, record.steps[0].state) == (RunState.FAILED, "failed")
    assert "ValueError: what is this" in (record.message or "")


def test_only_the_newest_states_are_kept(run_folder: RunFactory, stand_in: type, tmp_path: Path) -> None:
    output = tmp_path / "output_dir"
    folder = run_folder(
        "import json, os, pathlib\n"
        "for epoch in (1, 2, 3):\n"
        f"    state = pathlib.Path({str(output)!r}) / f'demo-{{epoch:06d}}-state'\n"
        "    state.mkdir(parents=True)\n"
        "    print(json.dumps({'phase': 'train', 'kind': 'state', 'file': str(state), 'epoch': epoch}))\n",
        keep_last_states=2,
    )
    old = output / "demo-000009-state"
    old.mkdir(parents=True)
    os.utime(old, (1, 1))
    record = run_to_end(folder, stand_in())
    assert sorted(path.name for path in output.iterdir()) == [
        "demo-000002-state",
        "demo-000003-state",
        "demo-000009-state",  # of an older run: not this run's to remove
    ]
    assert {file.path.name for file in record.files} == {"demo-000002-state", "demo-000003-state"}


def test_a_killed_runner_reads_as_interrupted_and_takes_its_trainer_along(
    run_folder: RunFactory, stand_in: type, tmp_path: Path
) -> None:
    pid_file = tmp_path / "trainer"
    folder = run_folder(
        f"import os, pathlib; pathlib.Path({str(pid_file)!r}).write_text(str(os.getpid()))\n" + FOREVER
    )
    pid = start_detached(folder, folder.load(), stand_in())
    wait_for(lambda: steps_seen(folder) >= 1)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert folder.load().state is RunState.INTERRUPTED
    wait_for(lambda: process_start(int(pid_file.read_text())) is None)


def test_too_little_room_is_said_before_anything_starts(
    run_folder: RunFactory, stand_in: type, tmp_path: Path
) -> None:
    folder = run_folder("open('/dev/null')")
    values = json.loads(folder.record_file.read_text())
    values["plan"]["disk_bytes"] = 10**18
    folder.record_file.write_text(json.dumps(values))
    record = run_to_end(folder, stand_in())
    assert (record.state, record.exit_code) == (RunState.FAILED, ExitCode.MACHINE_CANNOT)
    assert "this run will write" in (record.message or "")
    assert record.steps[0].state == "waiting"


def test_two_starts_at_once_take_turns(tmp_path: Path) -> None:
    inside, most = 0, 0

    def start() -> None:
        nonlocal inside, most
        with one_start_at_a_time(tmp_path / "runs"):
            inside += 1
            most = max(most, inside)
            time.sleep(0.1)
            inside -= 1

    threads = [threading.Thread(target=start) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
