"""What is sent to a destination: files under the names that they will have there."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from musabi.hub.listing import CHUNK


@dataclass(frozen=True)
class Piece:
    """One file of a parcel: its name at the destination (parts joined by /), size in bytes and sha256 in hex."""

    name: str
    path: Path
    size: int
    sha256: str

    def as_json(self) -> dict[str, object]:
        """Return the piece as values that JSON can hold."""
        return {"name": self.name, "path": str(self.path), "size": self.size, "sha256": self.sha256}


@dataclass(frozen=True)
class Sent:
    """What came of sending a parcel: names that were sent and names that were there already, and the place."""

    place: str
    sent: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()


def piece(name: str, path: Path) -> Piece:
    """Return the piece for a file, read once for its checksum.

    Raises:
        OSError: the file can't be read.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return Piece(name, path, path.stat().st_size, digest.hexdigest())
