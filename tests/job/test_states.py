"""Finding, choosing and pruning state folders."""

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from musabi.job.finite import is_finite
from musabi.job.model import Job
from musabi.job.new_run import new_record
from musabi.job.plan import Plan, Schedule, Step
from musabi.job.record import Leg
from musabi.job.states import choose, find_states, prune, prune_of


def make_states(folder: Path, *names: str) -> None:
    for number, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        os.utime(folder / name, (1000 + number, 1000 + number))


def test_states_are_ordered_by_when_they_were_saved(tmp_path: Path, legs: list[Leg]) -> None:
    make_states(tmp_path, "a-000001-state", "a-step00000007-state", "a-state", "b-000002-state", "a-x-state")
    found = [(state.path.name, state.epoch, state.step) for state in find_states(tmp_path, "a", legs)]
    assert found == [("a-000001-state", 1, 4), ("a-step00000007-state", 1, 7), ("a-state", 3, 12)]


def test_the_newest_whole_state_is_chosen(tmp_path: Path, legs: list[Leg]) -> None:
    make_states(tmp_path, "a-000001-state", "a-000002-state")
    point = choose(find_states(tmp_path, "a", legs), 0, lambda path: path.name == "a-000001-state")
    assert point is not None and (point.epoch, point.step) == (1, 4)


def test_states_of_an_older_run_are_neither_chosen_nor_pruned(tmp_path: Path, legs: list[Leg]) -> None:
    make_states(tmp_path, "a-000003-state", "a-000001-state", "a-000002-state")
    states = find_states(tmp_path, "a", legs)
    point = choose(states, 1001, lambda path: True)
    assert point is not None and point.state.name == "a-000002-state"
    assert [path.name for path in prune(states, 1001, 1)] == ["a-000001-state"]
    assert (tmp_path / "a-000003-state").exists()


def test_with_fewer_images_than_before_the_newest_state_is_kept_though_it_has_fewer_steps(
    tmp_path: Path,
) -> None:
    make_states(tmp_path, "a-000010-state", "a-000011-state")
    legs = [
        Leg(started=0, epochs=20, steps=200, steps_per_epoch=10),
        Leg(started=1000.5, epochs=20, steps=100, steps_per_epoch=5),
    ]
    states = find_states(tmp_path, "a", legs)
    assert [state.step for state in states] == [100, 55]
    point = choose(states, 0, lambda path: True)
    assert point is not None and point.state.name == "a-000011-state"
    assert [path.name for path in prune(states, 0, 1)] == ["a-000010-state"]


def test_no_output_folder_means_no_states(tmp_path: Path, legs: list[Leg]) -> None:
    assert find_states(tmp_path / "nowhere", "a", legs) == []


def test_a_final_state_counts_as_the_end_of_the_leg_that_saved_it(tmp_path: Path) -> None:
    make_states(tmp_path, "a-state", "a-000003-state")
    legs = [
        Leg(started=999, epochs=2, steps=8, steps_per_epoch=4),
        Leg(started=1000.5, epochs=9, steps=36, steps_per_epoch=4),
    ]
    found = [(state.path.name, state.epoch, state.step) for state in find_states(tmp_path, "a", legs)]
    assert found == [("a-state", 2, 8), ("a-000003-state", 3, 12)]


def write_numbers(path: Path, dtype: str, data: bytes, before: bytes = b"") -> None:
    """Write a safetensors file of one tensor of that dtype after one of bytes."""
    entries = {
        "a": {"dtype": "U8", "shape": [len(before)], "data_offsets": [0, len(before)]},
        "w": {"dtype": dtype, "shape": [-1], "data_offsets": [len(before), len(before) + len(data)]},
    }
    head = json.dumps(entries).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(len(head).to_bytes(8, "little") + head + before + data)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize(("dtype", "code"), [("F32", "<f"), ("F64", "<d"), ("F16", "<e"), ("BF16", "")])
def test_a_file_with_a_number_that_is_none_is_not_finite(
    value: float, dtype: str, code: str, tmp_path: Path
) -> None:
    def number(value: float) -> bytes:
        return struct.pack(code, value) if code else struct.pack("<f", value)[2:]

    path = tmp_path / "model.safetensors"
    write_numbers(path, dtype, number(1.5) * 1000 + number(-3e4) + number(0.0), before=b"\xff" * 7)
    assert is_finite(path)
    write_numbers(path, dtype, number(1.5) * 1000 + number(value) + number(0.0))
    assert not is_finite(path)


def test_a_state_whose_lora_is_no_number_is_never_chosen(tmp_path: Path, legs: list[Leg]) -> None:
    make_states(tmp_path, "a-000001-state", "a-000002-state")
    write_numbers(tmp_path / "a-000001-state" / "model.safetensors", "F32", struct.pack("<f", 1))
    write_numbers(tmp_path / "a-000002-state" / "model.safetensors", "F32", struct.pack("<f", float("nan")))
    os.utime(tmp_path / "a-000001-state", (1000, 1000))
    os.utime(tmp_path / "a-000002-state", (1001, 1001))
    point = choose(find_states(tmp_path, "a", legs), 0, lambda path: True)
    assert point is not None and point.state.name == "a-000001-state"


def test_states_from_after_a_loss_went_bad_are_passed_over_and_never_pruned_for(tmp_path: Path) -> None:
    make_states(tmp_path, "a-000001-state", "a-000002-state", "a-000003-state")
    leg = Leg(started=0, epochs=5, steps=20, steps_per_epoch=4, bad_from=8)
    states = find_states(tmp_path, "a", [leg])
    assert [state.path.name for state in states] == ["a-000001-state"]
    assert prune(states, 0, 1) == []


def test_after_a_resume_in_the_middle_of_an_epoch_epochs_end_later(
    tmp_path: Path, make_job: Callable[..., Job], legs: list[Leg]
) -> None:
    """The trainer begins a new epoch: epoch 2 of the whole run ends 3 steps after it would have."""
    timing = Schedule(4, 3, 12, 0, 1, 1, None)
    train = Step("train", "Train", (), epoch_offset=1, step_offset=7)
    record = new_record("b", make_job(), Plan((train,), timing), legs=[legs[0]])
    assert record.legs[-1].ahead == 3
    make_states(tmp_path, "a-000002-state")
    os.utime(tmp_path / "a-000002-state", (record.created + 1, record.created + 1))
    assert find_states(tmp_path, "a", record.legs)[0].step == 11


def test_the_state_at_the_end_pushes_no_other_out_before_its_lora_is_there(
    make_job: Callable[..., Job], legs: list[Leg]
) -> None:
    """Killed in between, a run goes on from the state before."""
    job = make_job(keep_last_states=1)
    record = new_record("a", job, Plan(()), legs=legs)
    make_states(job.output_dir, "demo-000001-state", "demo-000002-state", "demo-state")
    assert [path.name for path in prune_of(record)] == ["demo-000001-state"]
    write_numbers(job.output_dir / "demo.safetensors", "F32", struct.pack("<f", 1))
    assert [path.name for path in prune_of(record)] == ["demo-000002-state"]
    assert [path.name for path in job.output_dir.glob("*-state")] == ["demo-state"]


def test_a_state_without_numbers_pushes_no_other_out(make_job: Callable[..., Job], legs: list[Leg]) -> None:
    job = make_job(keep_last_states=1)
    record = new_record("a", job, Plan(()), legs=legs)
    make_states(job.output_dir, "demo-000001-state", "demo-000002-state")
    bad = job.output_dir / "demo-000002-state"
    write_numbers(bad / "model.safetensors", "F32", struct.pack("<f", float("nan")))
    os.utime(bad, (1001, 1001))
    assert prune_of(record) == []


def test_states_without_numbers_are_kept_in_the_same_number_at_most(
    make_job: Callable[..., Job], legs: list[Leg]
) -> None:
    """With ON_BAD_LOSS=go-on they would fill the disk."""
    job = make_job(keep_last_states=1)
    record = new_record("a", job, Plan(()), legs=legs)
    make_states(job.output_dir, *(f"demo-{epoch:06d}-state" for epoch in (1, 2, 3)))
    for epoch in (2, 3):
        bad = job.output_dir / f"demo-{epoch:06d}-state"
        write_numbers(bad / "model.safetensors", "F32", struct.pack("<f", float("nan")))
        os.utime(bad, (1000 + epoch, 1000 + epoch))
    assert [path.name for path in prune_of(record)] == ["demo-000002-state"]
