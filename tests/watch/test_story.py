from typing import Any

import pytest

from musabi.job.record import RunRecord, RunState, StepOutcome
from musabi.watch import story

CREATED = 1_760_000_000.0


def record(state: RunState, **more: Any) -> RunRecord:
    plan = {"schedule": {"steps": 270, "epochs": 10, "steps_per_epoch": 27}}
    return RunRecord(id="r", state=state, created=CREATED, job={}, **{"plan": plan, **more})


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59.4, "59 s"), (65, "1 min 05 s"), (7620, "2 h 07 min")]
)
def test_lengths_of_time_are_written_as_people_say_them(seconds: float, text: str) -> None:
    assert story.duration(seconds) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [(1, "1 byte"), (999, "999 bytes"), (7_340, "7.3 kB"), (85_100_000, "85 MB"), (12_300_000_000, "12 GB")],
)
def test_sizes_are_written_as_people_say_them(size: int, text: str) -> None:
    assert story.file_size(size) == text


@pytest.mark.parametrize(
    ("state", "step", "text"),
    [
        (RunState.DONE, 270, "Trained: 270 steps in 1 min 40 s."),
        (RunState.RUNNING, 12, "Still running: step 12 of 270 after 1 min 40 s."),
        (RunState.RUNNING, 0, "Running for 1 min 40 s; no step is done yet."),
        (RunState.FAILED, 12, "Failed, at step 12 of 270."),
        (RunState.STOPPED, 12, "Stopped on request, at step 12 of 270."),
        (RunState.FAILED, 0, "Failed, before the first step."),
        (RunState.PLANNED, 0, "Planned; nothing has run yet."),
    ],
)
def test_the_result_is_one_sentence(state: RunState, step: int, text: str) -> None:
    assert story.headline(record(state), step, 100.0) == text


def test_an_interrupted_run_says_that_it_went_away() -> None:
    assert "went away without a word, at step 12 of 270" in story.headline(
        record(RunState.INTERRUPTED), 12, 100.0
    )


def test_a_run_that_trained_nothing_does_not_claim_to() -> None:
    assert story.headline(record(RunState.DONE, plan={}), 0, 5.0) == "Done in 5 s; nothing was trained."


def test_time_taken_ends_where_the_run_did() -> None:
    assert story.seconds_taken(record(RunState.DONE, ended=CREATED + 9), now=CREATED + 99) == 9
    assert story.seconds_taken(record(RunState.RUNNING), now=CREATED + 99) == 99
    step = StepOutcome(name="cache-text", title="", argv=[], ended=CREATED + 4)
    assert story.seconds_taken(record(RunState.INTERRUPTED, steps=[step]), now=CREATED + 99) == 4


@pytest.mark.parametrize("state", [RunState.FAILED, RunState.STOPPED, RunState.INTERRUPTED])
def test_a_run_that_did_not_end_well_says_how_to_go_on(state: RunState) -> None:
    assert "--resume" in (story.next_action(record(state), has_state=True) or "")
    assert "from the beginning" in (story.next_action(record(state), has_state=False) or "")


def test_a_finished_run_needs_nothing() -> None:
    assert story.next_action(record(RunState.DONE), has_state=True) is None


def test_weights_that_are_no_model_are_named() -> None:
    assert "not a real model (tiny, random)" in (story.weights_remark({"base weights": "tiny, random"}) or "")
    assert story.weights_remark({"base weights": "Tongyi-MAI/Z-Image", "torch": "2.9 tiny"}) is None


def test_the_job_is_told_in_pairs() -> None:
    done = record(RunState.DONE)
    done.job = {"model": "z-image", "engine": "musubi", "optimizer": "adamw8bit", "learning_rate": 1e-4}
    done.job |= {"network_dim": 32, "network_alpha": 16.0, "seed": 42}
    facts = dict(story.job_facts(done, 100.0, "512 x 512", 54))
    assert facts == {
        "Model": "Z-Image",
        "Engine": "musubi-tuner",
        "Optimizer": "AdamW8bit",
        "Learning rate": "0.0001",
        "Rank / alpha": "32 / 16",
        "Resolution": "512 x 512",
        "Images": "54",
        "Length": "10 epochs \u00d7 27 steps = 270",
        "Seed": "42",
        "Time taken": "1 min 40 s",
    }
