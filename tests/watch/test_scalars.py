import builtins
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from musabi.errors import MachineError
from musabi.watch.scalars import event_files, read_scalars

Write = Callable[..., Path]


def test_every_tag_is_read_with_its_steps_and_values(tmp_path: Path, write_events: Write) -> None:
    write_events(tmp_path, [("loss/current", 1, 0.5), ("lr/unet", 1, 1.0), ("loss/current", 2, 0.25)])
    found = read_scalars(event_files(tmp_path))
    assert set(found) == {"loss/current", "lr/unet"}
    assert list(found["loss/current"].steps) == [1, 2]
    assert list(found["loss/current"].values) == [0.5, 0.25]
    assert found["loss/current"].times[1] - found["loss/current"].times[0] == pytest.approx(1.0)


@pytest.mark.parametrize("cut", [1, 5, 13, 20, 30])
def test_a_file_that_is_cut_off_is_read_up_to_there(tmp_path: Path, write_events: Write, cut: int) -> None:
    path = write_events(tmp_path, [("loss/current", step, 1 / step) for step in range(1, 11)])
    path.write_bytes(path.read_bytes()[:-cut])
    assert list(read_scalars([path])["loss/current"].steps) == list(range(1, 10))


def test_a_tail_of_zeros_after_a_power_cut_ends_the_reading(tmp_path: Path, write_events: Write) -> None:
    path = write_events(tmp_path, [("loss/current", 1, 0.5)])
    path.write_bytes(path.read_bytes() + b"\0" * 10_000)
    assert len(read_scalars([path])["loss/current"]) == 1


def test_rubbish_is_no_error(tmp_path: Path) -> None:
    path = tmp_path / "events.out.tfevents.1.x"
    path.write_bytes(b"\x08\0\0\0\0\0\0\0abcd" + b"\xff" * 400)
    assert read_scalars([path]) == {}


def test_files_of_another_run_are_left_out(tmp_path: Path, write_events: Write) -> None:
    write_events(tmp_path / "a", [("loss/current", 1, 0.1)], opened=1_000_000.0)
    mine = write_events(tmp_path / "b", [("loss/current", 1, 0.2)], opened=1_000_100.0)
    write_events(tmp_path / "c", [("loss/current", 1, 0.3)], opened=1_000_200.0)
    assert event_files(tmp_path, 1_000_050.0, 1_000_150.0) == [mine]


def test_files_in_hidden_folders_are_left_out(tmp_path: Path, write_events: Write) -> None:
    write_events(tmp_path / ".ohwx.writing" / "logs", [("loss/current", 1, 0.1)])
    assert event_files(tmp_path) == []


def test_a_later_file_replaces_the_steps_it_trained_again(tmp_path: Path, write_events: Write) -> None:
    write_events(tmp_path / "a", [("loss/current", step, 1.0) for step in (1, 2, 3)], opened=1_000_000.0)
    write_events(tmp_path / "b", [("loss/current", step, 2.0) for step in (3, 4)], opened=1_000_100.0)
    series = read_scalars(event_files(tmp_path))["loss/current"]
    assert list(zip(series.steps, series.values, strict=True)) == [(1, 1.0), (2, 1.0), (3, 2.0), (4, 2.0)]


def test_a_missing_folder_has_no_files(tmp_path: Path) -> None:
    assert event_files(tmp_path / "nowhere") == []


def test_reading_without_tensorboard_says_what_to_install(
    tmp_path: Path, write_events: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_events(tmp_path, [("loss/current", 1, 0.5)])
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.startswith("tensorboard"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MachineError, match="TensorBoard is not installed"):
        read_scalars([path])


def test_many_points_take_little_memory(tmp_path: Path, write_events: Write) -> None:
    count = 20_000
    path = write_events(tmp_path, (("loss/current", step, 0.5) for step in range(count)))
    read_scalars([path])  # imports and caches are not the file's
    tracemalloc.start()
    series = read_scalars([path])["loss/current"]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(series) == count
    assert peak < 40 * count + 200_000  # three numbers of 8 bytes a point, with room to grow
