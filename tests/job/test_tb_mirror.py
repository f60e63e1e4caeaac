"""Event files of a resumed leg count the whole run, held against TensorBoard's own reader."""

from pathlib import Path

import pytest

from musabi.job.tb_mirror import POSITIONS, mirror

tensorboard = pytest.importorskip("tensorboard")

NAME = "events.out.tfevents.1700000000.host.1.0"


def write_scalar(path: Path, tag: str, step: int, value: float) -> None:
    """Append a scalar as torch's SummaryWriter does."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.record_writer import RecordWriter

    summary = Summary(value=[Summary.Value(tag=tag, simple_value=value)])
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        if not path.stat().st_size:
            RecordWriter(file).write(Event(wall_time=1.5, file_version="brain.Event:2").SerializeToString())
        RecordWriter(file).write(Event(wall_time=2.5, step=step, summary=summary).SerializeToString())


def read(path: Path) -> dict[str, list[tuple[int, float]]]:
    """Read an event file with TensorBoard, which checks every checksum."""
    from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
    from tensorboard.compat.proto.event_pb2 import Event

    found: dict[str, list[tuple[int, float]]] = {}
    for data in RawEventFileLoader(str(path)).Load():
        event = Event.FromString(data)
        for value in event.summary.value:
            found.setdefault(value.tag, []).append((event.step, value.simple_value))
    return found


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    return tmp_path / "raw"


def test_steps_and_epochs_get_their_offsets(raw: Path, tmp_path: Path) -> None:
    path = raw / "leg" / "network_train" / NAME
    for step in (1, 2, 300):
        write_scalar(path, "loss/current", step, step / 4)
    write_scalar(path, "loss/epoch", 1, 0.5)
    mirror(raw, tmp_path / "logs", epoch_offset=10, step_offset=270)
    assert read(tmp_path / "logs" / "leg" / "network_train" / NAME) == {
        "loss/current": [(271, 0.25), (272, 0.5), (570, 75.0)],
        "loss/epoch": [(11, 0.5)],
    }


def test_a_file_that_grows_is_followed(raw: Path, tmp_path: Path) -> None:
    for step in (1, 2, 3):
        write_scalar(raw / NAME, "lr/unet", step, 1.0)
        mirror(raw, tmp_path / "logs", 0, 20)
        mirror(raw, tmp_path / "logs", 0, 20)
    assert read(tmp_path / "logs" / NAME) == {"lr/unet": [(21, 1.0), (22, 1.0), (23, 1.0)]}


def test_an_unfinished_record_waits(raw: Path, tmp_path: Path) -> None:
    write_scalar(raw / NAME, "lr/unet", 1, 1.0)
    write_scalar(raw / NAME, "lr/unet", 2, 1.0)
    whole = (raw / NAME).read_bytes()
    (raw / NAME).write_bytes(whole[:-3])
    mirror(raw, tmp_path / "logs", 0, 20)
    assert read(tmp_path / "logs" / NAME) == {"lr/unet": [(21, 1.0)]}
    (raw / NAME).write_bytes(whole)
    mirror(raw, tmp_path / "logs", 0, 20)
    assert read(tmp_path / "logs" / NAME) == {"lr/unet": [(21, 1.0), (22, 1.0)]}


def test_a_kill_between_copy_and_note_doubles_nothing(raw: Path, tmp_path: Path) -> None:
    write_scalar(raw / NAME, "lr/unet", 1, 1.0)
    mirror(raw, tmp_path / "logs", 0, 20)
    note = (raw / POSITIONS).read_text()
    write_scalar(raw / NAME, "lr/unet", 2, 1.0)
    mirror(raw, tmp_path / "logs", 0, 20)
    undisturbed = (tmp_path / "logs" / NAME).read_bytes()
    (raw / POSITIONS).write_text(note)
    with (tmp_path / "logs" / NAME).open("ab") as file:
        file.write(bytes(1000))
    mirror(raw, tmp_path / "logs", 0, 20)
    assert read(tmp_path / "logs" / NAME) == {"lr/unet": [(21, 1.0), (22, 1.0)]}
    assert (tmp_path / "logs" / NAME).read_bytes() == undisturbed


def test_nothing_to_copy_is_no_error(tmp_path: Path) -> None:
    mirror(tmp_path / "absent", tmp_path / "logs", 1, 1)
    assert not (tmp_path / "logs").exists()
