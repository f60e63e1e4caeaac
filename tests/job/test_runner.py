"""The runner against a stand-in trainer: outcomes, stopping, pruning, what the record says."""

import contextlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from musabi.errors import ExitCode
from musabi.job import events
from musabi.job.engine import Engine
from musabi.job.launch import ask_to_stop, one_start_at_a_time, start_detached
from musabi.job.plan import Fallback, Step
from musabi.job.record import Leg, RunFolder, RunRecord, RunState, process_start
from musabi.job.runner import Runner
from musabi.job.states import find_states

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
    again = Step("convert", "Convert again", ("ln", str(final), str(written)), output=(written, final))
    record = run_to_end(run_folder("pass", after=(good, again)), stand_in())
    assert final.exists() and not written.exists()  # also where both are names of one file
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


TRAINS = """
import json, pathlib, sys, time
out = pathlib.Path({out!r}); out.mkdir(parents=True, exist_ok=True)
def say(**values): print(json.dumps({{"phase": "train", "steps": 12, **values}}), flush=True)
def save(epoch, lora=1000, state=3000):
    (out / f"demo-{{epoch:06d}}.safetensors").write_bytes(bytes(lora))
    folder = out / f"demo-{{epoch:06d}}-state"; folder.mkdir()
    (folder / "optimizer.bin").write_bytes(bytes(state)); (folder / "whole").touch()
    say(kind="checkpoint", file=str(out / f"demo-{{epoch:06d}}.safetensors"), epoch=epoch)
    say(kind="state", file=str(folder), epoch=epoch)
"""


def trains(tmp_path: Path, code: str) -> str:
    return TRAINS.format(out=str(tmp_path / "output_dir")) + code


BECOMES_NAN = """
import signal
signal.signal(signal.SIGTERM, lambda *_: (out / "saved-on-stop").touch())
for step in range(1, 4): say(step=step, loss=0.5)
save(1)
for step in range(4, 7): say(step=step, loss=0.5)
save(2)
time.sleep(1)
say(step=7, loss=float("nan"))
time.sleep(600)
"""


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_what_there_is(
    run_folder: RunFactory, stand_in: type, tmp_path: Path
) -> None:
    folder = run_folder(trains(tmp_path, BECOMES_NAN), plan={"schedule": None})
    record = run_to_end(_with_legs(folder), stand_in(saves_on_stop=True))
    assert (record.state, record.exit_code) == (RunState.FAILED, ExitCode.TRAINER_FAILED)
    assert (record.steps[0].state, record.steps[0].cause) == ("failed", "bad_loss")
    assert (record.message or "").startswith(
        "The loss is no number any more at step 7, so the run was stopped."
    )
    assert "go on from demo-000002-state" in (record.message or "")
    names = {path.name for path in (tmp_path / "output_dir").iterdir()}
    assert {"demo-000001.safetensors", "demo-000001-state", "demo-000002-state"} <= names
    found = find_states(tmp_path / "output_dir", "demo", record.legs)
    assert [state.path.name for state in found] == ["demo-000001-state", "demo-000002-state"]
    assert record.legs[-1].bad_from == 7
    assert "saved-on-stop" not in names  # what it would save is of no use


def test_a_state_that_holds_no_numbers_pushes_out_none_that_does(
    run_folder: RunFactory, stand_in: type, tmp_path: Path
) -> None:
    """The weights can be gone before a loss shows it: the state of that step was saved already."""
    code = """
def lora(epoch, value):
    import struct
    head = b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    folder = out / f"demo-{epoch:06d}-state"; folder.mkdir(); (folder / "whole").touch()
    data = len(head).to_bytes(8, "little") + head + struct.pack("<f", value)
    (folder / "model.safetensors").write_bytes(data)
    say(step=4 * epoch, loss=0.5)
    say(kind="state", file=str(folder), epoch=epoch)
lora(1, 0.5)
time.sleep(1)
lora(2, float("nan"))
time.sleep(600)
"""
    record = run_to_end(run_folder(trains(tmp_path, code), keep_last_states=1), stand_in())
    assert record.exit_code == ExitCode.TRAINER_FAILED
    assert (record.message or "").startswith("The LoRA in demo-000002-state is no number any more")
    assert "go on from demo-000001-state" in (record.message or "")
    assert (tmp_path / "output_dir" / "demo-000001-state").is_dir()


def _with_legs(folder: RunFolder) -> RunFolder:
    """Give the run a leg of three steps an epoch, but no schedule, so that no disk is looked at."""
    record = folder.load()
    record.legs = [Leg(started=record.created - 5, epochs=4, steps=12, steps_per_epoch=3)]
    record.state = RunState.PLANNED
    folder.save(record)
    return folder


def test_a_bad_loss_is_only_said_where_the_job_wants_to_go_on(
    run_folder: RunFactory, stand_in: type, tmp_path: Path
) -> None:
    code = BECOMES_NAN.replace("time.sleep(600)", "say(step=8, loss=0.5)")
    record = run_to_end(run_folder(trains(tmp_path, code), on_bad_loss="go-on"), stand_in())
    assert record.state is RunState.DONE
    said = [event.message for event in events.read(RunFolder(tmp_path / "runs" / "demo-1").events_file)]
    assert sum("no number any more" in (message or "") for message in said) == 1


def test_what_can_come_to_nothing_ends_at_once(
    run_folder: RunFactory, stand_in: type, tmp_path: Path
) -> None:
    code = "say(kind='fatal', message='A LoRA matched no part of the model.')\ntime.sleep(600)"
    record = run_to_end(run_folder(trains(tmp_path, code)), stand_in())
    assert (record.state, record.exit_code) == (RunState.FAILED, ExitCode.WRONG_REQUEST)
    assert record.message == "A LoRA matched no part of the model."


NEEDS_SWAP = "say(step=1)\nif sys.argv[1] != '16': sys.exit('no memory left')\nsave(1)"


def ways(code: str) -> dict[str, object]:
    """Fallbacks that run the same code with another argument."""
    return {
        "fallbacks": tuple(
            Fallback(f"BLOCKS_TO_SWAP={n}", (sys.executable, "-u", "-c", code, str(n))) for n in (8, 16, 24)
        )
    }


def with_argument(folder: RunFolder, value: str) -> RunFolder:
    """Give the training step one more argument."""
    values = json.loads(folder.record_file.read_text())
    values["plan"]["steps"][0]["argv"].append(value)
    folder.record_file.write_text(json.dumps(values))
    return folder


def test_too_little_gpu_memory_is_tried_again_with_less_where_asked_for(
    run_folder: RunFactory, stand_in: type, tmp_path: Path
) -> None:
    code = trains(tmp_path, NEEDS_SWAP)
    folder = with_argument(run_folder(code, plan=ways(code), auto_retry=True), "0")
    record = run_to_end(folder, stand_in())
    assert (record.state, record.message) == (RunState.DONE, None)
    assert record.steps[0].argv[-1] == "16"
    assert record.steps[0].tries == [
        "The GPU's memory ran out. Trying again with BLOCKS_TO_SWAP=8 (try 1 of 3).",
        "The GPU's memory ran out. Trying again with BLOCKS_TO_SWAP=16 (try 2 of 3).",
    ]
    assert set(record.steps[0].tries) <= {event.message for event in events.read(folder.events_file)}


def test_without_being_asked_a_run_only_says_what_would_fit(
    run_folder: RunFactory, stand_in: type, tmp_path: Path
) -> None:
    code = trains(tmp_path, NEEDS_SWAP)
    record = run_to_end(with_argument(run_folder(code, plan=ways(code)), "0"), stand_in())
    assert record.state is RunState.FAILED and record.steps[0].tries == []
    assert "Start again with BLOCKS_TO_SWAP=8" in (record.message or "")


def test_when_no_way_fits_the_engines_own_words_are_said(
    run_folder: RunFactory, stand_in: type, tmp_path: Path
) -> None:
    code = trains(tmp_path, "sys.exit('no memory left')")
    record = run_to_end(with_argument(run_folder(code, plan=ways(code), auto_retry=True), "0"), stand_in())
    assert len(record.steps[0].tries) == 3
    assert record.message == "Train failed: no memory left"


def test_memory_that_runs_out_after_a_state_is_not_tried_again(
    run_folder: RunFactory, stand_in: type, tmp_path: Path
) -> None:
    code = trains(tmp_path, "save(1)\nsys.exit('no memory left')")
    record = run_to_end(with_argument(run_folder(code, plan=ways(code), auto_retry=True), "0"), stand_in())
    assert (record.message, record.steps[0].tries) == ("Train failed: no memory left", [])


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of 3 MiB at the output folder."""
    folder = tmp_path / "output_dir"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a small tmpfs needs root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.usefixtures("small_disk")
def test_a_run_stops_before_the_save_that_does_not_fit_and_said_so_in_time(
    run_folder: RunFactory, stand_in: type, tmp_path: Path
) -> None:
    """Each save is 1.2 MB: the second fits, the third does not."""
    code = """
say(step=4); save(1, 300_000, 900_000); time.sleep(2.5)
say(step=8); save(2, 300_000, 900_000)
for step in range(9, 12): say(step=step, s_per_step=0.5); time.sleep(1)
time.sleep(600)
"""
    folder = run_folder(trains(tmp_path, code), keep_last_states=3)
    record = run_to_end(folder, stand_in())
    assert (record.state, record.exit_code) == (RunState.FAILED, ExitCode.MACHINE_CANNOT)
    assert record.steps[0].cause == "no_room"
    assert "the next save needs 1.2 MB, so the run was stopped before it" in (record.message or "")
    assert "The newest state is demo-000002-state; " in (record.message or "")
    warned = [
        event.message for event in events.read(folder.events_file) if "saves to come" in (event.message or "")
    ]
    assert "enough for 1 of the 2 saves to come" in (warned[0] or "") and "before step 12" in (
        warned[0] or ""
    )


CHECKPOINT = """
import os, sys, time
from pathlib import Path
staging = Path({staging!r})
for epoch in (1, 2):
    part = staging / "part"
    part.write_bytes((2).to_bytes(8, "little") + b"{{}}")
    part.rename(staging / f"demo-{{epoch:06d}}.safetensors")
    time.sleep({seconds})
print("saved", flush=True)
"""


def saving_run(run_folder: RunFactory, tmp_path: Path, seconds: float, **more: object) -> RunFolder:
    """Return the folder of a run whose trainer saves two checkpoints, `seconds` apart."""
    staging = tmp_path / "output_dir" / ".demo.writing"
    folder = run_folder(CHECKPOINT.format(staging=str(staging), seconds=seconds), **more)
    record = folder.load()
    (train,) = (step for step in record.plan["steps"] if step["name"] == "train")
    train["staging"] = str(staging)
    folder.save(record)
    return folder


def test_each_checkpoint_is_converted_while_the_training_goes_on(
    run_folder: RunFactory, stand_in: type, tmp_path: Path
) -> None:
    final = tmp_path / "output_dir" / "comfyui" / "demo-000001.safetensors"
    planned = Step("convert", "Convert the first", ("false",), output=(final.with_suffix(".part"), final))
    folder = saving_run(run_folder, tmp_path, 3, after=(planned,))
    record = run_to_end(folder, stand_in())
    assert record.state is RunState.DONE, record.message
    made = [file.path for file in record.files if file.kind == "converted"]
    assert [path.name for path in made] == ["demo-000001.safetensors", "demo-000002.safetensors"]
    assert all(path.parent.name == "comfyui" and path.exists() for path in made)
    said = list(events.read(folder.events_file))
    first = next(n for n, event in enumerate(said) if event.kind == "converted")
    second = [n for n, event in enumerate(said) if event.kind == "checkpoint"][1]
    assert first < second, "it waited for the end of the training"
    assert (record.steps[-1].state, record.steps[-1].message) == (
        "skipped",
        "it was converted when it was saved",
    )


def test_a_conversion_that_fails_is_said_and_ends_nothing(
    run_folder: RunFactory, stand_in: type, tmp_path: Path
) -> None:
    folder = saving_run(run_folder, tmp_path, 0)
    (tmp_path / "output_dir").mkdir(exist_ok=True)
    (tmp_path / "output_dir" / "comfyui").write_text("a file where the folder should be")
    record = run_to_end(folder, stand_in())
    assert record.state is RunState.DONE
    said = [event.message or "" for event in events.read(folder.events_file)]
    assert any("demo-000001.safetensors was not converted" in text for text in said)
    assert sum("demo-000001.safetensors was not converted" in text for text in said) == 1


SLEEPER = "import time; time.sleep({seconds}); print('done')"


def beside(first: str, second: str) -> tuple[Step, Step]:
    program = (sys.executable, "-u", "-c")
    return (
        Step("cache-latents", "Cache the latents", (*program, first)),
        Step("cache-text", "Cache the captions", (*program, second), beside=True),
    )


def test_steps_that_may_run_at_the_same_time_do(run_folder: RunFactory, stand_in: type) -> None:
    pair = beside(SLEEPER.format(seconds=1.5), SLEEPER.format(seconds=1.5))
    record = run_to_end(run_folder("print('ok')", before=pair), stand_in())
    assert record.state is RunState.DONE
    latents, text, train = record.steps
    assert text.started is not None and latents.ended is not None and train.started is not None
    assert text.started < latents.ended <= train.started
    assert text.ended is not None and text.ended <= train.started


def test_a_step_that_fails_takes_the_one_beside_it_along(run_folder: RunFactory, stand_in: type) -> None:
    began = time.monotonic()
    pair = beside(SLEEPER.format(seconds=50), "raise SystemExit('no captions')")
    record = run_to_end(run_folder("print('ok')", before=pair), stand_in())
    assert time.monotonic() - began < 30
    assert record.state is RunState.FAILED
    assert record.message is not None and "no captions" in record.message
    assert [step.state for step in record.steps] == ["stopped", "failed", "waiting"]


def test_a_stop_ends_both(run_folder: RunFactory, stand_in: type) -> None:
    folder = run_folder("print('ok')", before=beside(SLEEPER.format(seconds=50), SLEEPER.format(seconds=50)))
    process = multiprocessing.get_context("fork").Process(target=lambda: Runner(folder, stand_in()).run())
    process.start()
    wait_for(lambda: folder.load().state is RunState.RUNNING)
    ask_to_stop(folder)
    process.join(30)
    record = folder.load()
    assert record.state is RunState.STOPPED
    assert [step.state for step in record.steps[:2]] == ["stopped", "stopped"]


def test_a_full_disk_under_the_log_and_the_events_ends_no_healthy_training(
    run_folder: RunFactory, stand_in: type
) -> None:
    folder = run_folder("print('some words')")
    folder.log_file.symlink_to("/dev/full")
    folder.events_file.symlink_to("/dev/full")
    record = run_to_end(folder, stand_in())
    assert (record.state, record.message) == (RunState.DONE, None)


def test_a_disk_that_does_not_take_the_log_is_said_once(run_folder: RunFactory, stand_in: type) -> None:
    folder = run_folder("import time\nfor _ in range(3): print('some words'); time.sleep(0.4)")
    folder.log_file.symlink_to("/dev/full")
    assert run_to_end(folder, stand_in()).state is RunState.DONE
    said = [event.message or "" for event in events.read(folder.events_file)]
    assert sum("Writing the log failed: No space left on device" in text for text in said) == 1


def test_a_resumed_run_converts_what_a_killed_one_left(
    run_folder: RunFactory, stand_in: type, tmp_path: Path
) -> None:
    folder = run_folder("import time; time.sleep(2)")
    output = tmp_path / "output_dir"
    (output / "comfyui").mkdir(parents=True)
    whole = (2).to_bytes(8, "little") + b"{}"
    for name in ("demo-000001", "demo-000002", "demo-000003", "other-000001"):
        (output / f"{name}.safetensors").write_bytes(whole)
    (output / "demo-000003.safetensors").write_bytes(whole[:-1])
    (output / "comfyui" / "demo-000002.safetensors").write_bytes(whole)
    (output / "comfyui" / ".demo-000001.part.safetensors").write_bytes(whole[:3])
    record = run_to_end(folder, stand_in())
    assert [file.path.name for file in record.files if file.kind == "converted"] == [
        "demo-000001.safetensors"
    ]
    assert sorted(path.name for path in (output / "comfyui").iterdir()) == [
        "demo-000001.safetensors",
        "demo-000002.safetensors",
    ]


@pytest.mark.slow
def test_a_stop_is_not_kept_waiting_by_a_conversion(
    run_folder: RunFactory, stand_in: type, tmp_path: Path
) -> None:
    engine = stand_in()
    engine.convert_step = lambda job, source, target: Step("convert", "Convert", ("sleep", "600"))
    folder = saving_run(run_folder, tmp_path, 0)
    pid = start_detached(folder, folder.load(), engine)
    wait_for(lambda: any(event.kind == "checkpoint" for event in events.read(folder.events_file)))
    time.sleep(1)  # the training is done, its conversion hangs
    began = time.monotonic()
    ask_to_stop(folder)
    os.waitpid(pid, 0)
    assert time.monotonic() - began < 20
    said = [event.message or "" for event in events.read(folder.events_file)]
    assert sum("was not converted: the run ended before that." in text for text in said) == 2


def test_memory_that_runs_out_after_a_checkpoint_is_not_tried_again(
    run_folder: RunFactory, stand_in: type, tmp_path: Path
) -> None:
    code = trains(tmp_path, "say(kind='checkpoint', file=__file__)\nsys.exit('no memory left')")
    code = code.replace("__file__", "sys.executable")
    folder = with_argument(run_folder(code, plan=ways(code), auto_retry=True), "0")
    assert run_to_end(folder, stand_in()).steps[0].tries == []


@pytest.mark.slow
def test_steps_that_do_not_fit_beside_each_other_run_one_after_the_other(
    run_folder: RunFactory, stand_in: type, tmp_path: Path
) -> None:
    """The second needs the memory that the first has."""
    taken = str(tmp_path / "taken")
    first = f"import os, time; open({taken!r}, 'w'); time.sleep(2); os.remove({taken!r})"
    second = f"import os, time; time.sleep(1); os.path.exists({taken!r}) and exit('no memory left')"
    made_room = f"import pathlib; pathlib.Path({taken!r}).unlink(missing_ok=True)"
    engine = stand_in()
    folder = run_folder(made_room, before=beside(first, second))
    record = run_to_end(folder, engine)
    assert record.state is RunState.DONE, record.message
    assert [step.state for step in record.steps] == ["done", "done", "done"]
    assert any("one after the other" in (event.message or "") for event in events.read(folder.events_file))


def test_where_the_second_of_two_steps_can_not_start_the_first_is_ended(
    run_folder: RunFactory, stand_in: type, tmp_path: Path
) -> None:
    pid_file = tmp_path / "pid"
    write = f"import os, pathlib, time; pathlib.Path({str(pid_file)!r}).write_text(str(os.getpid())); time.sleep(60)"
    one, _ = beside(write, "")
    runner = Runner(run_folder("pass"), stand_in())
    with pytest.raises(OSError, match="nowhere"):
        runner._supervise([one, Step("cache-text", "Cache", ("/nowhere/python",), beside=True)])
    time.sleep(0.5)  # while a process becomes its program, it has no command line
    assert not has_process(str(pid_file))


def has_process(word: str) -> bool:
    """Tell whether there is a process with that word in its command line."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if word.encode() in path.read_bytes():
                return True
    return False
