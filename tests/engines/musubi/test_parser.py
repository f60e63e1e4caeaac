"""Events from what the real trainer printed, in pieces of any length."""

import math
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from musabi.engines.musubi.parser import MusubiParser
from musabi.job.events import Event
from musabi.job.plan import Step, StepName

Recording = Callable[[str], str]


def parse(text: str, name: StepName = "train", seed: int | None = None, **step: int) -> list[Event]:
    """Feed a recording in one piece, or in random pieces."""
    parser = MusubiParser(Step(name=name, title="", argv=(), **step))  # type: ignore[arg-type]
    if seed is None:
        return parser.feed(text)
    chance, events = random.Random(seed), []  # noqa: S311 - a test
    while text:
        length = chance.randint(1, 300)
        events += parser.feed(text[:length])
        text = text[length:]
    return events


def test_every_step_comes_once_with_its_last_loss(recording: Recording) -> None:
    events = [event for event in parse(recording("train.txt")) if event.loss is not None]
    assert [event.step for event in events] == list(range(1, 25))
    assert events[1].loss == 1.98
    assert (events[-1].steps, events[-1].epoch, events[-1].epochs) == (24, 4, 4)


@pytest.mark.parametrize("seed", range(5))
def test_output_may_come_in_any_pieces(seed: int, recording: Recording) -> None:
    events = [event for event in parse(recording("train.txt"), seed=seed) if event.loss is not None]
    last = {event.step: event.loss for event in events}
    whole = {event.step: event.loss for event in parse(recording("train.txt")) if event.loss is not None}
    assert last == whole
    assert len(events) <= 2 * len(whole)


def test_a_bar_counts_before_its_line_ends() -> None:
    """A slow step draws its bar, and the next carriage return comes a step later."""
    bar = "\rsteps:  20%|##        | 3/15 [01:00<04:00, 20.76s/it, avr_loss=1.11]"
    events = parse(bar)
    assert [(e.step, e.loss, e.s_per_step, e.eta_s) for e in events] == [(3, 1.11, 20.76, 249.1)]


def test_the_first_rate_is_left_out(recording: Recording) -> None:
    first = next(event for event in parse(recording("train.txt")) if event.loss is not None)
    assert (first.step, first.s_per_step, first.eta_s) == (1, None, None)


def test_rate_and_time_left(recording: Recording) -> None:
    third = [event for event in parse(recording("train.txt")) if event.loss is not None][2]
    assert third.s_per_step == pytest.approx(0.19, abs=0.05)
    assert third.eta_s == pytest.approx(21 * third.s_per_step, abs=0.1)


def test_sampling_bars_are_no_steps(recording: Recording) -> None:
    events = parse(recording("train.txt"))
    assert [event.message for event in events].count("Rendering samples") == 2
    assert {event.steps for event in events if event.steps is not None} == {24}


def test_a_resumed_leg_counts_the_whole_run(recording: Recording) -> None:
    events = parse(recording("resumed.txt"), total=24, epoch_offset=2, step_offset=12)
    steps = [event.step for event in events if event.loss is not None]
    assert steps == list(range(13, 25))
    assert {(event.epoch, event.epochs) for event in events if event.epoch} == {(3, 4), (4, 4)}
    assert {event.steps for event in events if event.steps is not None} == {24}


@pytest.mark.parametrize(
    ("name", "file"), [("cache-latents", "cache_latents.txt"), ("cache-text", "cache_text.txt")]
)
def test_caching_has_a_total_though_its_bar_has_none(name: StepName, file: str, recording: Recording) -> None:
    events = parse(recording(file), name=name, total=6)
    counted = [event for event in events if event.step is not None]
    assert [event.step for event in counted] == [1, 2, 3, 4, 5, 6]
    assert counted[-1].steps == 6
    assert counted[-1].eta_s == 0


def test_a_second_dataset_counts_on() -> None:
    bars = "\r0it [00:00, ?it/s]\r2it [00:01,  2.00it/s]\n\r0it [00:00, ?it/s]\r1it [00:01,  1.00it/s]\n"
    assert [event.step for event in parse(bars, name="cache-latents", total=3)] == [2, 3]


def test_a_loss_that_is_no_number_is_passed_on_but_never_written(recording: Recording) -> None:
    """The runner's watch over the loss stops the run for it; JSON has no such number."""
    events = parse(recording("not_a_number.txt"), seed=1)
    bad = [event for event in events if event.loss is not None and math.isnan(event.loss)]
    assert [event.step for event in bad] == sorted({event.step for event in bad if event.step})
    assert bad and all('"loss"' not in event.to_json() for event in bad)


def test_base_weights_that_match_nothing_end_the_run(recording: Recording) -> None:
    """The trainer goes on and says that all weights were merged."""
    assert "all weights merged" in recording("base_weights.txt")
    events = parse(recording("base_weights.txt"), seed=2)
    fatal = [event for event in events if event.kind == "fatal"]
    assert len(fatal) == 1 and "matched no part of the model" in str(fatal[0].message)
    assert "musabi convert --to native" in str(fatal[0].message)
    assert not any(event.kind == "fatal" for event in parse(recording("train.txt")))


def test_log_lines_glued_to_a_bar_are_read() -> None:
    glued = "\rsteps:   0%|          | 0/4 [00:00<?, ?it/s]INFO:x:create LoRA for U-Net/DiT: 0 modules.\n"
    assert [event.message is not None for event in parse(glued)] == [True]


def test_a_rendered_sample_is_named() -> None:
    line = "INFO:__main__:Sample images saved to: /workspace/output/sample/20260101-000000-000_42\n"
    (event,) = parse(line, name="sample")
    assert (event.kind, event.file) == ("sample", "/workspace/output/sample/20260101-000000-000_42_000.png")


def test_a_sample_that_is_yet_to_be_moved_is_only_said() -> None:
    """Its name is none that lasts; it is named when it is in its place."""
    line = "INFO:__main__:Sample images saved to: /output/sample/.demo.sampling/20260101-000000-000_42\n"
    pictures = (Path("/output/sample/.demo.sampling"), Path("/output/sample"), "demo")
    (event,) = MusubiParser(Step("sample", "Sample", (), pictures=pictures)).feed(line)
    assert (event.kind, event.file, event.message) == (None, None, "Rendered a sample")


def test_a_prompt_that_was_left_out_is_said() -> None:
    """The sampler goes on after an error and ends with code 0."""
    line = "ERROR:__main__:Error generating latent for prompt: a. Error: out of memory\n"
    (event,) = parse(line, name="sample")
    assert "could not be rendered" in str(event.message)
