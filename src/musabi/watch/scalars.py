"""Reading the scalars of TensorBoard event files."""

import re
import struct
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from musabi.errors import MachineError
from musabi.watch.series import Series, continued

# A trainer opens its event file a little after the run began, on a clock that may be another machine's.
SLACK_S = 5.0
_MADE = re.compile(r"tfevents\.(\d+)")


def event_files(folder: Path, since: float = 0.0, until: float | None = None) -> list[Path]:
    """Return the event files under `folder` that were opened between two Unix times, oldest first.

    The time is the one in the file's name (`events.out.tfevents.<seconds>.<host>...`). Hidden folders are
    passed over: a trainer's own files, before they have their place, lie in one.
    """
    found = []
    for path in folder.rglob("*tfevents.*") if folder.is_dir() else ():
        if any(part.startswith(".") for part in path.relative_to(folder).parts):
            continue
        made = _MADE.search(path.name)
        opened = float(made.group(1)) if made else 0.0
        if opened >= since - SLACK_S and (until is None or opened <= until + SLACK_S) and path.is_file():
            found.append((opened, str(path), path))
    return [path for _, _, path in sorted(found)]


def read_scalars(files: Iterable[Path]) -> dict[str, Series]:
    """Return the scalars of event files, oldest file first, as series by tag.

    Where a later file begins at a step that an earlier one had passed, the later one counts. A file that
    is cut off or broken is read up to there.

    Raises:
        MachineError: the tensorboard package is not installed.
    """
    series: dict[str, Series] = {}
    for path in files:
        for tag, part in _read_file(path).items():
            series[tag] = continued(series[tag], part) if tag in series else part
    return series


class ScalarFile:
    """One event file that may still be written to: every look reads only what was added since the last."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._position = 0

    def read_more(self) -> dict[str, Series]:
        """Return the scalars that are new, by tag; a record that is not whole yet is read the next time.

        Raises:
            MachineError: the tensorboard package is not installed.
            OSError: the file can't be read.
        """
        if self.path.stat().st_size <= self._position:
            return {}
        decode, broken = _decoder()
        series: dict[str, Series] = {}
        for body, end in _records(self.path, self._position):
            try:
                event = decode(body)
            except broken:
                break
            self._position = end
            for value in event.summary.value:
                if value.HasField("simple_value"):
                    series.setdefault(value.tag, Series()).append(
                        event.step, event.wall_time, value.simple_value
                    )
        return series


def _read_file(path: Path) -> dict[str, Series]:
    return ScalarFile(path).read_more()


def _decoder() -> tuple[Callable[[bytes], Any], type[Exception]]:
    """Return what makes an event of a record's bytes, and the error it raises where they are none."""
    try:
        from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
        from tensorboard.compat.proto.event_pb2 import Event
    except ImportError as error:
        raise MachineError(
            "TensorBoard is not installed here, so event files can't be read. Run scripts/setup.sh pod in "
            "musabi's checkout."
        ) from error
    return Event.FromString, DecodeError


def _records(path: Path, start: int) -> Iterator[tuple[bytes, int]]:
    """Yield the whole records of a TFRecord file from byte `start` on, each with the byte after it.

    Layout: 8 bytes little-endian length, 4 bytes checksum, the record, 4 bytes checksum
    (https://www.tensorflow.org/tutorials/load_data/tfrecord). The checksums are passed over: worked out in
    Python they take five times as long as all the rest.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(start)
        at = start
        while len(head := file.read(12)) == 12:
            (length,) = struct.unpack_from("<Q", head)
            if length == 0 or at + 12 + length + 4 > size:
                return
            body = file.read(length)
            file.read(4)
            at += 16 + length
            yield body, at
