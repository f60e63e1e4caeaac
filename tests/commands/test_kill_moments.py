"""A run that is killed, again and again, at twenty moments, and gone on with, ends as if nothing had happened.

Every moment ends with SIGKILL for the trainer, for its runner or for both; `musabi train --continue` goes on.
Three moments are played always, all twenty with the marker `full`.
"""

import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from musabi.job import events
from musabi.job.record import RunFolder, RunState, newest_run, process_start
from small.space import Space

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("commands")]
Tensors = Callable[[Path], dict[str, Any]]
STEPS_PER_EPOCH, EPOCHS, SAVE_EVERY = 3, 40, 4
STEPS = STEPS_PER_EPOCH * EPOCHS
ENV = {"MAX_TRAIN_EPOCHS": str(EPOCHS), "SAVE_EVERY_N_EPOCHS": str(SAVE_EVERY)}
SEED = 20


@dataclass(frozen=True)
class Moment:
    """Kill `victim` `delay` seconds after the run's first event of that kind at or after `step`."""

    step: int
    event: Literal["start", "step", "checkpoint", "state"]
    victim: Literal["trainer", "runner", "both"]
    delay: float

    def __str__(self) -> str:
        return f"{self.event}-{self.step}-{self.victim}"


def moments(count: int = 20) -> list[Moment]:
    """Return the moments in the order of their steps: at steps, while and after saving, before the first step."""
    rng = random.Random(SEED)  # noqa: S311 - a test
    kinds = ["step"] * 9 + ["checkpoint"] * 6 + ["state"] * 4 + ["start"]
    steps = sorted(rng.sample(range(2, STEPS - 1), count))
    rng.shuffle(kinds)
    victims = ("trainer", "runner", "both")
    return [
        Moment(step, kind, rng.choice(victims), rng.choice((0.0, 0.0, 0.01, 0.05)))  # type: ignore[arg-type]
        for step, kind in zip(steps, kinds, strict=True)
    ]


def chains() -> list[Any]:
    """Return three moments that lie far apart, and then all of them, five to a run."""
    every = moments()
    whole = [every[first::4] for first in range(4)]
    return [
        pytest.param([every[3], every[9], every[16]], id="three"),
        *(pytest.param(chain, id=f"five-{n}", marks=pytest.mark.full) for n, chain in enumerate(whole)),
    ]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, tiny_models: Path, prepared: Space) -> Space:
    """A run that nobody disturbed."""
    mine = Space(tmp_path_factory.mktemp("whole"), prepared.environment)
    mine.ok("train", OUTPUT_DIR=str(mine.output), LOGGING_DIR=str(mine.root / "logs"), **ENV)
    return mine


@pytest.mark.parametrize("chain", chains())
def test_a_run_killed_again_and_again_equals_one_that_was_not(
    chain: list[Moment], space: Space, whole: Space, tensors: Tensors
) -> None:
    for moment in chain:
        space.ok("train", "--continue", "--detach", **ENV)
        kill(space, moment)
    space.ok("train", "--continue", **ENV)

    names = sorted(path.name for path in whole.output.glob("*.safetensors"))
    assert sorted(path.name for path in space.output.glob("*.safetensors")) == names
    for name in names:
        one, other = tensors(whole.output / name), tensors(space.output / name)
        assert one.keys() == other.keys() and all(one[key].equal(other[key]) for key in one), name
    assert len(list(space.output.glob("*-state"))) <= 2
    assert not list(space.output.glob(".*"))
    for tag in ("loss/current", "lr/d*lr/unet"):
        values = scalars(space.root / "logs", tag)
        assert list(values) == list(range(1, STEPS + 1)), tag
        assert values == scalars(whole.root / "logs", tag), tag
    assert space.status()["progress"]["step"] == STEPS


def kill(space: Space, moment: Moment) -> None:
    """Wait for the moment and kill; return when all of the run's processes are gone."""
    folder = newest_run(space.root / "runs")
    assert folder is not None
    wait_for(lambda: folder.load().pid is not None)
    wait_for(lambda: is_there(folder, moment) or folder.load().state is RunState.DONE)
    time.sleep(moment.delay)
    runner = folder.load().pid or 0
    children = [pid for pid in processes() if parent(pid) == runner]
    victims = {"trainer": children, "runner": [runner], "both": [runner, *children]}[moment.victim]
    for pid in victims:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue  # it was done
    wait_for(lambda: folder.load().state not in (RunState.RUNNING, RunState.PLANNED))
    wait_for(lambda: all(process_start(pid) is None for pid in children))


def is_there(folder: RunFolder, moment: Moment) -> bool:
    return any(
        event.phase == "train"
        and (moment.event == "start" or (event.step or 0) >= moment.step)
        and moment.event in ("start", event.kind or "step")
        for event in events.read(folder.events_file)
    )


def processes() -> list[int]:
    return [int(path.name) for path in Path("/proc").glob("[0-9]*")]


def parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text(errors="replace").rsplit(")", 1)[1].split()[1])
    except OSError:
        return 0


def scalars(folder: Path, tag: str) -> dict[int, float]:
    """Return a tag by step, later values winning, from all event files below a folder."""
    from musabi.watch.scalars import event_files, read_scalars

    series = read_scalars(event_files(folder))[tag]
    return dict(sorted(zip(series.steps, series.values, strict=True)))


def wait_for(condition: Callable[[], object], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.004)
