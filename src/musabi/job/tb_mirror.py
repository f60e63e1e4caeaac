"""Copies TensorBoard event files while they are written, with offsets added to their step numbers.

A trainer that counts from zero again after a resume logs its steps wrongly. Its own event files lie in
its staging folder; their copies, with the steps that an uninterrupted run has, in the logging folder.
Formats: TFRecord (8 bytes little-endian length, its masked CRC-32C, the data, its masked CRC-32C) around
protobuf messages `Event`, whose field 2 is the step (tensorflow/core/util/event.proto).
"""

import struct
from collections.abc import Iterator
from pathlib import Path

from musabi.whole import read_json, write_json

BY_EPOCH = b"loss/epoch"
"""The tag whose steps are epochs."""
POSITIONS = "mirrored.json"
_VARINT, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5


def mirror(raw: Path, target: Path, epoch_offset: int, step_offset: int) -> None:
    """Append what is new in the event files under `raw` to their copies under `target`.

    How far each file was copied is kept in `raw`, so that a kill in between loses and doubles nothing.
    """
    positions: dict[str, list[int]] = read_json(raw / POSITIONS) or {}
    for path in sorted(raw.rglob("*tfevents.*")) if raw.is_dir() else ():
        name = str(path.relative_to(raw))
        read, written = positions.get(name, [0, 0])
        if path.stat().st_size <= read:
            continue
        records, read = _whole_records(path, read)
        if not records:
            continue
        shifted = b"".join(frame(shift(record, epoch_offset, step_offset)) for record in records)
        _append(target / name, written, shifted)
        positions[name] = [read, written + len(shifted)]
        write_json(raw / POSITIONS, positions)


def _append(path: Path, position: int, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("r+b" if path.exists() else "wb") as file:
        file.truncate(position)
        file.seek(position)
        file.write(data)


def _whole_records(path: Path, start: int) -> tuple[list[bytes], int]:
    """Return the whole records from byte `start` on, and the byte after the last of them."""
    with path.open("rb") as file:
        file.seek(start)
        data = file.read()
    records, at = [], 0
    while at + 12 <= len(data):
        (length,) = struct.unpack_from("<Q", data, at)
        if at + 12 + length + 4 > len(data):
            break
        records.append(data[at + 12 : at + 12 + length])
        at += 12 + length + 4
    return records, start + at


def frame(data: bytes) -> bytes:
    """Return `data` as one TFRecord."""
    length = struct.pack("<Q", len(data))
    return length + _masked_crc(length) + data + _masked_crc(data)


def shift(event: bytes, epoch_offset: int, step_offset: int) -> bytes:
    """Return a serialized Event with the offset added to its step; one without a summary stays as it is."""
    fields = list(_fields(event))
    summary = b"".join(value for number, _, value in fields if number == 5)
    if not summary:
        return event
    step = next((_read_varint(value, 0)[0] for number, _, value in fields if number == 2), 0)
    step += epoch_offset if BY_EPOCH in summary else step_offset
    kept = b"".join(raw for number, raw, _ in fields if number != 2)
    return kept + b"\x10" + _write_varint(step)


def _fields(message: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Yield (field number, the field as it stands, its value) of a protobuf message."""
    at = 0
    while at < len(message):
        start = at
        key, at = _read_varint(message, at)
        kind, value_at = key & 7, at
        if kind == _VARINT:
            _, at = _read_varint(message, at)
        elif kind == _BYTES:
            length, value_at = _read_varint(message, at)
            at = value_at + length
        else:
            at += {_EIGHT_BYTES: 8, _FOUR_BYTES: 4}[kind]
        yield key >> 3, message[start:at], message[value_at:at]


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift_by = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift_by
        shift_by += 7
        if not byte & 0x80:
            return value, at


def _write_varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _crc_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
        table.append(crc)
    return tuple(table)


_TABLE = _crc_table()


def _masked_crc(data: bytes) -> bytes:
    """Return the masked CRC-32C (Castagnoli) of `data` as TFRecord stores it, 4 bytes little-endian."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)
