"""Copies a parcel into a folder, each file whole or not at all."""

import shutil
import time
from collections.abc import Callable, Sequence

from musabi.hub.destination import FolderPlace
from musabi.hub.listing import gigabytes
from musabi.hub.parcel import Piece, Sent, piece
from musabi.hub.room import require_room
from musabi.whole import replacing

WORTH_SAYING = 10_000_000
DEAD_SECONDS = 600
"""A copy that goes on is written to more often than this; an older one was left by a kill."""


def send_to_folder(pieces: Sequence[Piece], place: FolderPlace, say: Callable[[str], None]) -> Sent:
    """Copy what is not there yet with the same content.

    Raises:
        MachineError: the disk has too little room.
        OSError: the folder can't be written.
    """
    changed = [one for one in pieces if not _is_there(one, place)]
    require_room(place.path, sum(one.size for one in changed))
    for one in changed:
        if one.size > WORTH_SAYING:
            say(f"copying {one.name} ({gigabytes(one.size)})")
        _clear_left_behind(one, place)
        with replacing(place.path / one.name) as part:
            shutil.copyfile(one.path, part)
    names = {one.name for one in changed}
    unchanged = tuple(one.name for one in pieces if one.name not in names)
    return Sent(str(place), tuple(one.name for one in changed), unchanged)


def _is_there(one: Piece, place: FolderPlace) -> bool:
    target = place.path / one.name
    if not target.is_file() or target.stat().st_size != one.size:
        return False
    return piece(one.name, target).sha256 == one.sha256


def _clear_left_behind(one: Piece, place: FolderPlace) -> None:
    target = place.path / one.name
    for left in target.parent.glob(".*.part"):
        mine = left.name.startswith(f".{target.name}.")
        if mine and time.time() - left.stat().st_mtime > DEAD_SECONDS:
            left.unlink(missing_ok=True)
