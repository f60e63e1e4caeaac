"""Finding, choosing and pruning state folders."""

import os
from pathlib import Path

from musabi.job.record import Leg
from musabi.job.states import choose, find_states, prune


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
