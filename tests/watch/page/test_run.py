"""The page of a run: how it stands in words, what can be done, no HTML of a record, quick when nothing is new."""

import os
import time
from typing import Any

import pytest

from musabi.identity import identity
from musabi.job.record import ProducedFile, RunFolder, RunState, StepOutcome, process_start
from musabi.watch.page.run import RUN
from small.run_page import browser_at, fill, scene_at


@pytest.fixture
def full_world(world: Any) -> Any:
    """A run with samples and checkpoints."""
    return fill(world)


def part(world: Any, name: str, run: str = "run-1") -> str:
    return RUN.parts[name](scene_at(world.root), {"id": run})


def mine() -> dict[str, Any]:
    """What the record of a run that goes on says of its process."""
    return {"pid": os.getpid(), "pid_started": process_start(os.getpid()), "container": identity()}


def state_of(world: Any, name: str = "ohwx_v1-000004-state") -> ProducedFile:
    (world.output / name).mkdir()
    return ProducedFile(kind="state", path=world.output / name, size=1, made=1.0)


def test_the_newest_training_is_shown_where_none_is_named(full_world: Any) -> None:
    record = full_world.run.load()
    cached = RunFolder(full_world.root / "runs" / "run-2")
    cached.save(record.model_copy(update={"id": "run-2", "created": record.created + 9, "plan": {}}))
    page = browser_at(full_world.root).get("/run").text
    assert "<h1>ohwx_v1</h1>" in page and 'data-run="run-1"' in page
    assert "Trained: 270 steps in 29 min 50 s." in page


@pytest.mark.parametrize("name", ["run-9", "../run-1", "run-1/../run-1", ".", "\0"])
def test_another_name_than_a_run_s_is_refused_in_words(full_world: Any, name: str) -> None:
    answer = browser_at(full_world.root).client.get("/run", params={"id": name})
    assert answer.status_code == 200 and "Choose another." in answer.text and "Trained" not in answer.text


def test_a_workspace_without_runs_says_what_to_do(tmp_path: Any) -> None:
    assert "There is no run yet. Start one on the page Train." in browser_at(tmp_path).get("/run").text


def test_a_failed_run_says_why_and_that_it_can_go_on(full_world: Any) -> None:
    full_world.record(
        state=RunState.FAILED,
        message="Too little GPU memory. Set BLOCKS_TO_SWAP.",
        files=[state_of(full_world)],
    )
    head, acts = part(full_world, "head"), part(full_world, "acts")
    assert "Too little GPU memory. Set BLOCKS_TO_SWAP." in head
    assert "Do what the message says, then go on from the newest saved state with Resume." in head
    assert 'data-verb="train-resume"' in acts and 'data-verb="train-stop"' not in acts


def test_without_a_saved_state_only_a_new_start_is_offered(full_world: Any) -> None:
    full_world.record(state=RunState.STOPPED)
    assert "no state was saved" in part(full_world, "head")
    assert "train-resume" not in part(full_world, "acts") and "train-again" in part(full_world, "acts")


def test_a_killed_run_can_go_on_though_its_record_names_no_state(full_world: Any) -> None:
    full_world.record(state=RunState.INTERRUPTED)
    assert "with Resume." in part(full_world, "head") and "train-resume" in part(full_world, "acts")


def test_a_run_that_was_gone_on_with_leads_to_the_newer_one(full_world: Any) -> None:
    record = full_world.record(state=RunState.STOPPED, files=[state_of(full_world)])
    newer = {"id": "run-2", "created": record.created + 9, "resumed_from": "run-1", "start_step": 100}
    RunFolder(full_world.root / "runs" / "run-2").save(record.model_copy(update=newer))
    assert 'href="run?id=run-2"' in part(full_world, "head") and part(full_world, "acts") == ""
    assert "train-resume" in part(full_world, "acts", "run-2")


def test_a_run_that_goes_on_shows_its_progress_and_can_be_stopped(world: Any) -> None:
    world.record(state=RunState.RUNNING, ended=None, **mine())
    world.run.events_file.write_text(
        '{"phase":"train","t":1,"step":90,"steps":270,"epoch":4,"epochs":10,"loss":0.5}\n'
    )
    scene = scene_at(world.root)
    head = RUN.parts["head"](scene, {"id": "run-1"})
    assert (
        '<progress max="270" value="90"' in head
        and "Training: step 90 of 270, epoch 4 of 10, loss 0.5000" in head
    )
    assert "train-stop-saved" in RUN.parts["acts"](scene, {"id": "run-1"})
    world.run.stop_file.write_text('{"after_save": true}')
    acts = RUN.parts["acts"](scene, {"id": "run-1"})
    assert "It ends after the next save." in acts and "train-stop-saved" not in acts
    with world.run.events_file.open("a") as file:
        file.write('{"phase":"train","t":2,"step":91,"steps":270,"loss":0.5}\n')
    assert 'value="91"' in RUN.parts["head"](scene, {"id": "run-1"})


def test_figures_of_a_step_that_is_over_are_not_those_of_the_next(world: Any) -> None:
    steps = [
        StepOutcome(name="cache-text", title="Cache the captions", argv=[], state="done"),
        StepOutcome(name="train", title="Train the LoRA", argv=[], state="running"),
    ]
    world.record(state=RunState.RUNNING, ended=None, steps=steps, **mine())
    cached = '{"phase":"cache-text","t":1,"step":11,"steps":11,"eta_s":0.0}\n'
    trained = '{"phase":"train","t":2,"step":96,"steps":270,"loss":0.5}\n'
    scene = scene_at(world.root)
    for events, shown, title in (
        (cached, "Train the LoRA: it starts.", "Running: ohwx_v1"),
        (cached + trained, "Train the LoRA: step 96 of 270", "35 % ohwx_v1"),
    ):
        world.run.events_file.write_text(events)
        head = RUN.parts["head"](scene, {"id": "run-1"})
        assert shown in head and "11 of 11" not in head and f'data-title="{title}"' in head


def test_the_conversions_are_one_step_and_a_failed_step_is_named_once(world: Any) -> None:
    steps = [StepOutcome(name="train", title="Train the LoRA", argv=[], state="running")]
    steps += [StepOutcome(name="convert", title=f"Convert {number}", argv=[]) for number in range(6)]
    world.record(state=RunState.RUNNING, ended=None, steps=steps, **mine())
    head = part(world, "head")
    assert "Convert the checkpoints, 0 of 6" in head and "Convert 3" not in head
    steps[0] = steps[0].model_copy(update={"state": "failed"})
    world.record(state=RunState.FAILED, steps=steps, message="Train the LoRA: the process was killed.")
    head = part(world, "head")
    assert head.count("Train the LoRA") == 1 and 'data-title="Failed: ohwx_v1"' in head


def test_nothing_of_a_record_is_taken_as_html(full_world: Any) -> None:
    bad = "<img src=x onerror=alert(1)>"
    record = full_world.run.load()
    job = record.job | {"model": bad, "network_args": [bad], "trigger_word": bad}
    steps = [step.model_copy(update={"title": bad, "state": "failed"}) for step in record.steps]
    full_world.record(state=RunState.FAILED, message=bad, job=job, steps=steps, versions={bad: bad})
    (full_world.root / "dataset" / "sample_prompts.txt").write_text(f"{bad}\n\"'><script>x\n")
    full_world.run.log_file.write_text(f"{bad}\n")
    browser = browser_at(full_world.root)
    for page in ("/run?id=run-1", "/compare?run=run-1"):
        text = browser.get(page).text
        assert bad not in text and "<script>x" not in text and "&lt;img" in text


def test_secrets_of_the_record_are_not_shown(full_world: Any) -> None:
    record = full_world.run.load()
    argv = ["python", "--wandb_api_key", "wandbsecretvalue", "--huggingface_token=hf_inline"]
    plan = record.plan | {"steps": [{"name": "train", "title": "Training", "argv": argv, "env": {}}]}
    full_world.record(
        plan=plan, job=record.job | {"extra_train_args": argv[1:]}, message="used hf_ofthismachine"
    )
    text = browser_at(full_world.root, HF_TOKEN="hf_ofthismachine").get("/run?id=run-1").text
    assert "--huggingface_token=..." in text
    for secret in ("wandbsecretvalue", "hf_inline", "hf_ofthismachine"):
        assert secret not in text


def test_a_look_when_nothing_changed_is_quick(world: Any) -> None:
    files = [world.add_sample("ohwx_v1_e000001_00_20251009091500_42_000.png", 1, (16, 16))]
    for number in range(800):
        name = f"ohwx_v1_e{number // 8 + 1:06d}_{number % 8:02d}_20251009091501_42_000.png"
        path = world.output / "sample" / name
        path.hardlink_to(files[0].path)
        files.append(ProducedFile(kind="sample", path=path, size=1, made=number))
    files += [world.add_checkpoint(f"ohwx_v1-{epoch:06d}", epoch) for epoch in range(1, 101)]
    world.record(files=files)
    os.utime(world.output / "sample", (1.0, 1.0))  # the newest sample is read once more after a while
    scene, query = scene_at(world.root), {"id": "run-1"}
    first = {name: made(scene, query) for name, made in RUN.parts.items()}
    assert first["samples"].count("<img") == 800 and first["files"].count("<tr>") == 101
    begun = time.process_time()
    for _ in range(5):
        assert {name: made(scene, query) for name, made in RUN.parts.items()} == first
    assert (time.process_time() - begun) / 5 < 0.01
