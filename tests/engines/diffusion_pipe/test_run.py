"""A job from its file to its LoRAs, with diffusion-pipe's stand-in as the trainer."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from musabi.engines.diffusion_pipe.trainer import MARK
from musabi.job.events import read
from musabi.job.launch import ask_to_stop
from musabi.job.marked import marked
from musabi.job.record import RunState

Folder = Any
SLOW = {"STANDIN_STEP_SECONDS": "0.1", "STANDIN_CHECKPOINT_EVERY": "2"}


def left(folder: Folder) -> list[int]:
    """Return the processes of a job's trainings that still run."""
    return list(marked(MARK, str(folder.path / "workspace" / "diffusion_pipe")))


def steps(folder: Folder) -> list[int]:
    """Return the steps that the newest run has told of."""
    events = read(folder.newest.events_file)
    return [
        event.step for event in events if event.phase == "train" and event.loss is not None and event.step
    ]


def files(folder: Folder) -> dict[str, dict[str, Any]]:
    """Return the weights of each type, made up."""
    encoders = [{"path": folder.weight("qwen_3_4b.safetensors"), "type": "lumina2"}]
    z_image = {"diffusion_model": folder.weight("dit"), "vae": folder.weight("ae"), "text_encoders": encoders}
    return {
        "sdxl": {"checkpoint_path": folder.weight("sdxl.safetensors")},
        "flux": {"diffusers_path": str(folder.weights)},
        "wan": {"ckpt_path": str(folder.weights)},
        "qwen_image": {"diffusers_path": str(folder.weights)},
        "z_image": z_image | {"merge_adapters": [folder.weight("adapter")], "transformer_dtype": "float8"},
    }


@pytest.mark.parametrize("kind", ["flux", "sdxl", "wan", "qwen_image", "z_image"])
def test_each_type_trains_to_loras_under_the_usual_names(folder: Folder, kind: str) -> None:
    job = folder.job(type=kind, model_type=kind, model=files(folder)[kind], epochs=3, save_every_n_epochs=2)
    code, said = folder.run(job)
    assert (code, said["state"]) == (0, "done"), folder.log()
    assert folder.loras == ["lora-000002.safetensors", "lora.safetensors"]
    record = folder.newest.load()
    assert record.state is RunState.DONE and record.trained
    assert (record.legs[-1].epochs, record.legs[-1].steps, record.legs[-1].steps_per_epoch) == (3, 12, 4)
    assert {file.path.name for file in record.files} == set(folder.loras)
    assert steps(folder) == list(range(1, 13))


def test_asked_to_stop_it_saves_its_state_and_goes_on_from_there(folder: Folder) -> None:
    process = folder.start(folder.job(epochs=4), STANDIN_STEP_SECONDS="0.1")
    folder.wait(lambda: "steps: 3 " in folder.log())
    ask_to_stop(folder.newest)
    assert process.wait(timeout=15) == 143
    stopped = folder.newest.load()
    assert stopped.state is RunState.STOPPED
    assert stopped.message is not None and stopped.message.endswith("nothing is lost.")
    assert not left(folder)
    done = max(steps(folder))

    assert folder.run()[0] == 0
    record = folder.newest.load()
    assert record.resumed_from == stopped.id and record.start_step == done
    assert steps(folder) == list(range(done + 1, 17))
    assert len(list(folder.trainings.iterdir())) == 1
    assert folder.loras == [*(f"lora-00000{epoch}.safetensors" for epoch in (1, 2, 3)), "lora.safetensors"]


def test_sigint_stops_it_as_well_and_a_stop_before_the_first_step_loses_nothing(folder: Folder) -> None:
    process = folder.start(folder.job(), STANDIN_STEP_SECONDS="5")
    folder.wait(lambda: "Global batch size" in folder.log())
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=15) == 130
    assert folder.newest.load().message == "Stopped before training began. Nothing was lost."
    assert not left(folder)


def test_killed_without_a_word_it_goes_on_from_its_newest_state(folder: Folder) -> None:
    process = folder.start(folder.job(epochs=4), **SLOW)
    folder.wait(lambda: "steps: 7 " in folder.log())
    process.kill()
    process.wait()
    assert left(folder), "the trainer was to outlive its launcher here"
    killed = folder.newest
    assert killed.load().state is RunState.INTERRUPTED

    assert folder.run()[0] == 0
    record = folder.newest.load()
    assert record.id != killed.path.name and record.start_step in (6, 8, 10)
    assert steps(folder) == list(range(record.start_step + 1, 17))
    assert not left(folder)
    assert folder.loras[-1] == "lora.safetensors" and len(folder.loras) == 4


def test_a_state_that_a_kill_tore_is_passed_over(folder: Folder) -> None:
    code, said = folder.run(folder.job(), STANDIN_TORN_AT="8", STANDIN_CHECKPOINT_EVERY="4")
    assert code == 3 and "killed" in said["error"]
    assert folder.run()[0] == 0
    assert folder.newest.load().start_step == 4


def test_a_trainer_that_is_killed_is_no_success_though_files_are_there(folder: Folder) -> None:
    code, said = folder.run(folder.job(), STANDIN_KILL_AT="6")
    assert (code, said["state"]) == (3, "failed")
    record = folder.newest.load()
    assert record.steps[0].cause == "killed" and folder.loras == ["lora-000001.safetensors"]


def test_what_is_done_is_not_trained_again_though_the_runner_was_killed_before_it_said_so(
    folder: Folder,
) -> None:
    assert folder.run(folder.job(epochs=1))[0] == 0
    run = folder.newest
    record = run.load()
    assert folder.run() == (0, {"run": run.path.name, "state": "done"})
    record.state, record.pid_started = RunState.RUNNING, 1.0
    run.save(record)
    assert folder.run() == (0, {"run": run.path.name, "state": "done"})
    assert run.load().state is RunState.DONE

    training = next(folder.trainings.iterdir())
    (training / "epoch1").mkdir()
    (folder.output / "lora.safetensors").rename(training / "epoch1" / "lora.safetensors")
    run.save(record)
    assert folder.run()[0] == 0
    assert folder.loras == ["lora.safetensors"] and folder.newest.path == run.path


def test_a_loss_that_is_no_number_ends_it_and_its_states_are_not_gone_on_from(folder: Folder) -> None:
    slow = {"STANDIN_STEP_SECONDS": "0.05", "STANDIN_CHECKPOINT_EVERY": "3"}
    code, said = folder.run(folder.job(epochs=100), STANDIN_NAN_AT="5", **slow)
    assert code == 4 and "no number" in said["error"] and "learning_rate" in said["error"]
    assert folder.newest.load().legs[-1].bad_from == 5
    assert not left(folder)
    assert folder.run(folder.job(epochs=3))[0] == 0
    assert folder.newest.load().start_step == 3


def test_a_failure_is_said_in_words_and_in_the_record(folder: Folder) -> None:
    code, said = folder.run(folder.job(), STANDIN_ERROR="CUDA out of memory. Tried to allocate 2 GiB")
    assert code == 3 and "memory ran out" in said["error"]
    assert folder.newest.load().message == said["error"]


def test_a_dataset_that_fills_no_step_is_a_wrong_request(folder: Folder) -> None:
    code, said = folder.run(folder.job(root={"gradient_accumulation_steps": 8}))
    assert code == 2 and "dataset" in said["error"]
    said_of_it = [event.message or "" for event in read(folder.newest.events_file)]
    assert any("not trained on" in message for message in said_of_it)


def test_the_number_of_steps_can_end_it(folder: Folder) -> None:
    assert folder.run(folder.job(root={"gradient_accumulation_steps": 1, "max_steps": 6}, epochs=50))[0] == 0
    leg = folder.newest.load().legs[-1]
    assert (leg.steps, leg.epochs) == (6, 1)
    assert folder.loras == ["lora-000001.safetensors", "lora.safetensors"]


def test_a_second_start_of_the_same_job_is_refused(folder: Folder) -> None:
    folder.start(folder.job(), STANDIN_STEP_SECONDS="0.5")
    folder.wait(lambda: "steps: 1 " in folder.log())
    code, said = folder.run()
    assert code == 2 and "still running" in said["error"]
    assert left(folder), "the first one was to go on"
    ask_to_stop(folder.newest)
    assert folder.started[0].wait(timeout=15) == 143


def test_two_jobs_at_once_get_ports_and_gpus_of_their_own(make_folder: Callable[[str], Folder]) -> None:
    ports, gpus = set(), []
    both = [make_folder("one"), make_folder("two")]
    started = [
        folder.start(folder.job(epochs=5), STANDIN_STEP_SECONDS="0.03", CUDA_VISIBLE_DEVICES=str(number))
        for number, folder in enumerate(both, 2)
    ]
    assert [process.wait(timeout=15) for process in started] == [0, 0]
    for folder in both:
        (line,) = (line for line in folder.log().splitlines() if line.startswith("standin: port"))
        ports.add(line.split()[2])
        gpus.append(line.split()[-1])
    assert len(ports) == 2 and gpus == ["2", "3"]


def test_without_diffusion_pipe_the_mend_is_said_and_no_run_is_made(folder: Folder, checkout: Path) -> None:
    (checkout / "train.py").unlink()
    code, said = folder.run(folder.job())
    assert code == 3 and "musabi bootstrap --engine diffusion_pipe" in said["error"]
    assert not list((folder.path / "workspace" / "runs").glob("*/record.json"))


def test_a_job_that_can_not_be_right_is_a_wrong_request(folder: Folder) -> None:
    (folder.path / "pipe.json").write_text(json.dumps({"type": "sdxl", "evil": 1}))
    code, said = folder.run()
    assert code == 2 and "pipe.json" in said["error"]


def test_a_secret_of_the_environment_stands_in_no_file(folder: Folder) -> None:
    secret = "hf_abcdefghijklmnop"
    assert folder.run(folder.job(epochs=1), HF_TOKEN=secret, STANDIN_ERROR=f"401 for {secret}")[0] == 4
    for path in folder.path.rglob("*"):
        if path.is_file():
            assert secret.encode() not in path.read_bytes(), path
    assert os.environ.get("HF_TOKEN") != secret
