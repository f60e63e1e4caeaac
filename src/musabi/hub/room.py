"""Whether a disk has room for what is coming, asked before anything is fetched."""

from pathlib import Path

from musabi.errors import MachineError
from musabi.hub.listing import free_bytes, gigabytes

ROOM_LEFT = 64 * 1024**2
"""Bytes that stay free: a disk that is full to the last byte stops more than this."""


def require_room(target: Path, needed: int) -> None:
    """Refuse to write `needed` bytes to the disk of `target` (which need not be there) where they don't fit.

    Raises:
        MachineError: there is too little room; the message says how much there is.
    """
    folder = next(one for one in (target, *target.absolute().parents) if one.exists())
    room = max(0, free_bytes(folder) - ROOM_LEFT)
    if needed > room:
        raise MachineError(
            f"The disk of {target} is too small: {gigabytes(needed)} are coming and {gigabytes(room)} are free. "
            "Make room or enlarge the volume, then start again."
        )
