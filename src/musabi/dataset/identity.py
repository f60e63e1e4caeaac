"""What a file is, by its bytes: whole content of images, sampled blocks of model weights.

`Memory` keeps what was worked out beside the file's size and times, so that a second look at an unchanged
file costs one stat call.
"""

import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from musabi import whole

BLOCK = 64 * 1024
"""Bytes of one sampled block."""
BLOCKS = 16
"""Blocks that are read of a weight file, spread evenly from its first byte to its last."""
SETTLED_NS = 2_000_000_000
"""Nanoseconds after which a change of a file surely shows in its times (FAT's are this coarse)."""
SEPARATOR = "\0"
"""Stands in no path, so it parts a path from a topic."""
FORGET_AFTER = 20_000
"""Things that one memory keeps at most."""


class Memory:
    """Identities of files as they were last seen, kept in a JSON file that may be lost at any time."""

    def __init__(self, path: Path | None = None) -> None:
        """Read what is remembered in `path`; without one, nothing is known and nothing kept."""
        self._path = path
        kept = whole.read_json(path) if path else {}
        entries = kept.items() if isinstance(kept, dict) else ()
        self._kept: dict[str, list[Any]] = {name: entry for name, entry in entries if _is_entry(entry)}
        self._changed = False

    def recall(self, file: Path, work_out: Callable[[Path], str], topic: str = "") -> str:
        """Return what `work_out` says of `file`, worked out anew only where its size or times changed.

        `topic` keeps several things that are known of one file apart; "" is its identity.

        Raises:
            OSError: the file is not there or can't be read.
        """
        status = file.stat()
        seen = [status.st_size, status.st_mtime_ns, status.st_ctime_ns]
        name = f"{file.absolute()}{SEPARATOR}{topic}" if topic else str(file.absolute())
        kept = self._kept.get(name)
        if kept and kept[:3] == seen:
            return str(kept[3])
        identity = work_out(file)
        self._kept[name] = [*seen, identity]
        self._changed = True
        return identity

    def keep(self) -> None:
        """Write down what was learnt, where the folder is there and can be written."""
        if not self._changed or self._path is None or not self._path.parent.is_dir():
            return
        settled = time.time_ns() - SETTLED_NS
        lasting = [entry for entry in self._kept.items() if max(entry[1][1:3]) < settled]
        try:
            whole.write_json(self._path, dict(lasting[-FORGET_AFTER:]))
        except OSError:
            return
        self._changed = False


def _is_entry(entry: object) -> bool:
    """Tell whether it is [bytes, modified ns, changed ns, identity]."""
    match entry:
        case [int(), int(), int(), str()]:
            return True
    return False


def content_hash(file: Path) -> str:
    """Return the sha256 of the file's bytes in hex."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def sampled_hash(file: Path) -> str:
    """Return a sha256 over the file's size and blocks spread evenly over it, all of it where it is small."""
    size = file.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with file.open("rb") as opened:
        if size <= BLOCK * BLOCKS:
            digest.update(opened.read())
        else:
            for number in range(BLOCKS):
                opened.seek((size - BLOCK) * number // (BLOCKS - 1))
                digest.update(opened.read(BLOCK))
    return digest.hexdigest()


def model_identity(weights: Path, memory: Memory) -> str | None:
    """Return what tells one model from another, or None where a file of it is not there.

    Names, places and times of the files do not matter.
    """
    digest = hashlib.sha256()
    try:
        for shard in whole.shards(weights):
            digest.update(memory.recall(shard, sampled_hash).encode())
    except OSError:
        return None
    return digest.hexdigest()


def models_identity(weights: tuple[Path, ...], memory: Memory) -> str | None:
    """Return what tells a set of models from another, or None where one of them is not there.

    One model alone is known as `model_identity` says.
    """
    each = [model_identity(path, memory) for path in weights]
    known = [identity for identity in each if identity is not None]
    if len(known) < len(each):
        return None
    return known[0] if len(known) == 1 else hashlib.sha256("".join(known).encode()).hexdigest()
