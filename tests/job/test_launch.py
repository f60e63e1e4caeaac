"""Whether a run may start beside the runs that go on."""

from collections.abc import Callable
from pathlib import Path

import pytest

from musabi.identity import identity
from musabi.job.claims import InTheWay, claim_of
from musabi.job.launch import new_run_folder, require_ended, require_free
from musabi.job.model import Job
from musabi.job.new_run import new_record, outcome_of
from musabi.job.plan import Plan, Step
from musabi.job.record import RunRecord, RunState, own_process

MakeJob = Callable[..., Job]


@pytest.fixture
def run(tmp_path: Path, make_job: MakeJob) -> Callable[..., RunRecord]:
    """Write the record of a run that this process carries out; with `state` None it is only to start."""

    def make(
        name: str, *gpus: int, steps: tuple[Step, ...] = (), state: RunState | None = RunState.RUNNING
    ) -> RunRecord:
        record = new_record(name, make_job(output_name=name), Plan(steps=steps), gpus=list(gpus))
        if state is not None:
            folder = new_run_folder(tmp_path / "runs", name)
            record.id, record.state = folder.path.name, state
            record.pid, record.pid_started, record.container = *own_process(), identity()
            record.steps = [outcome_of(step) for step in steps]
            folder.save(record)
        return record

    return make


def caching(cache: Path, skip: str | None = None) -> Step:
    return Step("cache-latents", "Cache", ("true",), stamp=((cache / "stamp.json", "{}"),), skip=skip)


def refused(runs: Path, new: RunRecord) -> str:
    with pytest.raises(InTheWay) as said:
        require_free(runs, claim_of(new))
    return str(said.value)


def test_runs_on_other_gpus_go_on_side_by_side(tmp_path: Path, run: Callable[..., RunRecord]) -> None:
    run("a", 0)
    run("b", 1, 2)
    require_free(tmp_path / "runs", claim_of(run("c", 3, state=None)))


def test_a_gpu_that_is_taken_is_named_with_the_run_that_has_it(
    tmp_path: Path, run: Callable[..., RunRecord]
) -> None:
    run("b", 2)
    a = run("a", 0, 1)
    said = refused(tmp_path / "runs", run("c", 1, 3, state=None))
    assert f"{a.id} is still running on GPU 1." in said and "CUDA_VISIBLE_DEVICES" in said


@pytest.mark.parametrize(("old", "new"), [((), (3,)), ((0,), ()), ((), ())])
def test_a_run_on_the_cpu_or_of_an_old_record_has_everything(
    tmp_path: Path, run: Callable[..., RunRecord], old: tuple[int, ...], new: tuple[int, ...]
) -> None:
    run("a", *old)
    assert "is still running" in refused(tmp_path / "runs", run("b", *new, state=None))


def test_an_older_run_that_goes_on_is_seen_behind_a_newer_one_that_ended(
    tmp_path: Path, run: Callable[..., RunRecord]
) -> None:
    run("a", 0)
    run("b", 1, state=RunState.DONE)
    assert "a-" in refused(tmp_path / "runs", run("c", 0, state=None))
    require_ended(tmp_path / "runs", "b")
    with pytest.raises(InTheWay, match="is still running"):
        require_ended(tmp_path / "runs", "a")


def test_two_runs_of_one_name_would_replace_each_others_files(
    tmp_path: Path, run: Callable[..., RunRecord]
) -> None:
    run("a", 0)
    assert "same OUTPUT_NAME" in refused(tmp_path / "runs", run("a", 1, state=None))


def test_one_run_at_a_time_writes_into_a_cache_folder(tmp_path: Path, run: Callable[..., RunRecord]) -> None:
    runs, cache = tmp_path / "runs", tmp_path / "cache"
    first = run("a", 0, steps=(caching(cache),))
    assert str(cache) in refused(runs, run("b", 1, steps=(caching(cache),), state=None))
    assert str(cache) in refused(runs, run("b", 1, steps=(caching(cache, "fresh"),), state=None))
    require_free(runs, claim_of(run("b", 1, steps=(caching(tmp_path / "other"),), state=None)))

    first.steps[0].state = "done"  # it trains now, and only reads
    first_folder = runs / first.id / "record.json"
    first_folder.write_text(first.model_dump_json())
    require_free(runs, claim_of(run("b", 1, steps=(caching(cache, "fresh"),), state=None)))
    assert str(cache) in refused(runs, run("b", 1, steps=(caching(cache),), state=None))


def test_runs_that_start_together_may_not_be_in_each_others_way(
    tmp_path: Path, run: Callable[..., RunRecord]
) -> None:
    beside = [claim_of(run("a", 0, state=None))]
    require_free(tmp_path / "runs", claim_of(run("b", 1, state=None)), beside)
    with pytest.raises(InTheWay, match="GPU 0"):
        require_free(tmp_path / "runs", claim_of(run("b", 0, state=None)), beside)
