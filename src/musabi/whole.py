"""Files that appear under their final names only when they are whole.

Everything the product writes for later reading goes through here: a kill or a full disk at any
moment leaves either the old file or the new one, never a piece.
"""

import json
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_SHARD = re.compile(r"(?P<stem>.*)-\d{5}-of-(?P<count>\d{5})\.safetensors")


@contextmanager
def replacing(path: Path, mode: int = 0o644, *, sync: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside `path`; put it in its place when the block ends without an error.

    The temporary file is synced to disk before the rename and removed on any error. `sync` off is for files
    that mean nothing after the machine went down, where a busy disk must not keep the writer waiting.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    os.close(handle)
    part = Path(name)
    try:
        yield part
        part.chmod(mode)
        if sync:
            with part.open("rb") as written:
                os.fsync(written.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def claim_and_rename(source: Path, target: Path) -> None:
    """Rename a file to a name that no file has: the name is claimed first, so that only that empty file is replaced.

    Raises:
        FileExistsError: the name is taken.
        OSError: the folder can't be written.
    """
    target.touch(exist_ok=False)
    try:
        source.replace(target)
    except OSError:
        target.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str, mode: int = 0o644, *, sync: bool = True) -> None:
    """Replace the file at `path` by `text` (UTF-8), atomically."""
    with replacing(path, mode, sync=sync) as part:
        part.write_text(text, encoding="utf-8")


def write_json(
    path: Path,
    value: Any,  # noqa: ANN401 - any JSON value
    mode: int = 0o644,
    *,
    sync: bool = True,
) -> None:
    """Replace the file at `path` by `value` as indented JSON, atomically."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n", mode, sync=sync)


def read_json(path: Path) -> Any:  # noqa: ANN401 - any JSON value
    """Return the JSON value in `path`, or None where there is no file or no whole JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError, UnicodeDecodeError):
        return None


def is_whole_safetensors(path: Path) -> bool:
    """Tell whether the file holds as many bytes as its safetensors header says.

    Layout: 8 bytes little-endian header length, the JSON header, the tensors
    (https://huggingface.co/docs/safetensors).
    """
    header = safetensors_header(path)
    if header is None:
        return False
    length, entries = header
    end = max(
        (entry["data_offsets"][1] for name, entry in entries.items() if name != "__metadata__"), default=0
    )
    return path.stat().st_size == 8 + length + int(end)


def safetensors_header(path: Path) -> tuple[int, dict[str, Any]] | None:
    """Return (header length in bytes, header) of a safetensors file, or None where it has none."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= 100_000_000 or length > path.stat().st_size:
                return None
            header = json.loads(file.read(length))
    except (OSError, json.JSONDecodeError, UnicodeDecodeError):
        return None
    return (length, header) if isinstance(header, dict) else None


def shards(path: Path) -> tuple[Path, ...]:
    """Return all files that belong to `path`: itself, or every shard of the set that its name counts.

    Of a folder, those of every safetensors file in it.
    """
    if path.is_dir():
        found = {shard for file in path.glob("*.safetensors") for shard in shards(file)}
        return tuple(sorted(found)) or (path,)
    match = _SHARD.fullmatch(path.name)
    if match is None:
        return (path,)
    stem, count = match["stem"], int(match["count"])
    return tuple(path.with_name(f"{stem}-{n:05d}-of-{count:05d}.safetensors") for n in range(1, count + 1))
