import math
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from musabi.job.events import Event
from musabi.job.record import RunFolder, RunState, own_process
from musabi.pod.places import PodPlaces
from musabi.settings import load
from musabi.watch.lineage import read_lineage
from musabi.watch.losses import read_losses
from musabi.watch.page import run_series
from musabi.watch.page.run_series import Growing, RunSeries, Smoothed, series_of
from musabi.watch.page.scene import Scene
from musabi.watch.scalars import ScalarFile
from musabi.watch.series import make_series, smooth

CREATED = 1_760_000_000.0


@pytest.fixture
def scene(world: Any) -> Scene:
    environ = {"WORKSPACE": str(world.root), "MUSABI_STATE_DIR": str(world.root / "state")}
    return Scene(load(environ), PodPlaces(world.root / "state"), {}, key="a-key", login=False)


def found(scene: Scene, name: str = "run-1") -> RunSeries:
    run = series_of(scene, name)
    assert run is not None
    return run


def steps(run: RunSeries) -> list[int]:
    assert run.loss is not None
    return list(run.loss[1].series.steps)


def append(path: Path, more: Path) -> None:
    """Put a second event file's records behind the first one's, as a trainer that goes on does."""
    with path.open("ab") as file:
        file.write(more.read_bytes())
    more.unlink()


def test_only_what_was_added_is_read_at_the_next_look(
    scene: Scene, world: Any, write_events: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    pid, started = own_process()
    world.record(state=RunState.RUNNING, ended=None, pid=pid, pid_started=started)
    path = write_events(world.logs / "a", [("loss/current", step, 0.5) for step in range(1, 101)])
    assert steps(found(scene)) == list(range(1, 101))
    read: list[int] = []
    records = ScalarFile.read_more

    def counted(self: ScalarFile) -> dict[str, Any]:
        fresh = records(self)
        read.append(sum(len(part) for part in fresh.values()))
        return fresh

    monkeypatch.setattr(ScalarFile, "read_more", counted)
    found(scene)
    append(path, write_events(world.root / "b", [("loss/current", step, 0.4) for step in range(101, 104)]))
    assert steps(found(scene)) == list(range(1, 104))
    assert read == [0, 3]


def test_a_record_that_is_half_written_is_read_when_it_is_whole(
    tmp_path: Path, write_events: Callable[..., Path]
) -> None:
    path = write_events(tmp_path / "a", [("loss/current", step, 0.5) for step in (1, 2, 3)])
    data = path.read_bytes()
    path.write_bytes(data[:-7])
    file = ScalarFile(path)
    assert list(file.read_more()["loss/current"].steps) == [1, 2]
    assert file.read_more() == {}
    path.write_bytes(data)
    assert list(file.read_more()["loss/current"].steps) == [3]


def test_a_resumed_run_goes_on_where_the_one_before_it_stopped(
    scene: Scene, world: Any, write_events: Callable[..., Path]
) -> None:
    write_events(world.logs / "a", [("loss/current", step, 1.0) for step in range(1, 61)])
    later = CREATED + 5000
    write_events(world.logs / "b", [("loss/current", step, 2.0) for step in range(41, 81)], opened=later)
    first = world.run.load()
    train = [step.model_copy(update={"started": later - 1, "ended": later + 90}) for step in first.steps]
    times = {"created": later - 10, "ended": later + 100, "steps": train}
    RunFolder(world.root / "runs" / "run-2").save(
        first.model_copy(update={"id": "run-2", "resumed_from": "run-1", "start_step": 40} | times)
    )
    run = found(scene, "run-2")
    assert steps(run) == list(range(1, 81))
    assert run.loss is not None
    assert list(run.loss[1].series.values) == [1.0] * 40 + [2.0] * 40
    clock = run.loss[1].clock
    assert clock[40] == clock[39]  # the pause between the runs took no training
    assert clock[-1] == pytest.approx(39 + 39)
    report = read_losses(read_lineage(RunFolder(world.root / "runs" / "run-2"))).series["loss/current"]
    assert list(report.values) == list(run.loss[1].series.values)


def test_without_event_files_the_printed_progress_is_the_curve(scene: Scene, world: Any) -> None:
    shutil.rmtree(world.logs)
    lines = [Event("train", t=100.0 + n, step=n, loss=0.5, lr=1e-4).to_json() for n in (1, 2, 3)]
    world.run.events_file.write_text("\n".join(lines) + "\n")
    run = found(scene)
    assert run.loss is not None and run.loss[0] == "loss/average"
    assert run.rate is not None and list(run.rate[1].series.values) == [1e-4] * 3
    assert "progress that its trainer printed" in (run.remark or "")
    with world.run.events_file.open("a") as file:
        file.write(Event("train", t=104.0, step=4, loss=0.4).to_json() + "\n")
    assert steps(found(scene)) == [1, 2, 3, 4]


def test_an_event_file_that_a_running_trainer_opens_later_is_found(
    scene: Scene, world: Any, write_events: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_series, "LOOK_FOR_FIRST_S", 0.0)
    pid, started = own_process()
    world.record(state=RunState.RUNNING, ended=None, pid=pid, pid_started=started)
    assert found(scene).loss is None
    write_events(world.logs / "a", [("loss/current", 1, 0.5)])
    assert steps(found(scene)) == [1]


def test_what_was_trained_again_replaces_what_was_there() -> None:
    growing = Growing()
    growing.add(make_series((step, step * 2.0, 1.0) for step in range(1, 11)), begins=True)
    assert growing.smoothed(0.9)[-1] == pytest.approx(1.0)
    growing.add(make_series((step, 900 + step * 2.0, math.nan) for step in range(6, 9)), begins=True)
    assert list(growing.series.steps) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert len(growing.clock) == 8 and growing.clock[-1] == pytest.approx(12.0)
    assert (growing.cuts, growing.broken) == (1, [5, 6, 7])
    assert len(growing.smoothed(0.9)) == 8


def test_smoothing_in_pieces_is_smoothing_at_once() -> None:
    values = make_series((n, 0.0, math.sin(n) if n != 50 else math.nan) for n in range(200)).values
    pieces = Smoothed(0.95)
    for end in (1, 2, 60, 200):
        pieces.take(values[:end])
    whole = smooth(values, 0.95)
    assert [v for v in pieces.values if v == v] == pytest.approx([v for v in whole if v == v])


def test_few_runs_are_kept_in_memory(scene: Scene, world: Any) -> None:
    record = world.run.load()
    for number in range(run_series.MOST_RUNS + 3):
        RunFolder(world.root / "runs" / f"more-{number}").save(
            record.model_copy(update={"id": f"more-{number}"})
        )
        found(scene, f"more-{number}")
    assert len(scene.memory["run series"]) == run_series.MOST_RUNS


@pytest.mark.parametrize("name", ["", "..", "../runs/run-1", "nothing", "a/b", "\0"])
def test_a_name_that_is_no_runs_finds_nothing(scene: Scene, name: str) -> None:
    assert series_of(scene, name) is None


def test_a_look_with_nothing_new_is_quick(
    scene: Scene, world: Any, write_events: Callable[..., Path]
) -> None:
    write_events(world.logs / "a", [("loss/current", step, 0.5) for step in range(1, 3001)])
    found(scene)
    begun = time.process_time()
    for _ in range(20):
        found(scene)
    assert (time.process_time() - begun) / 20 < 0.005
