"""Whether an MP4 file was written to its end, told from its boxes.

Layout (ISO/IEC 14496-12, 4.2): boxes, each with 4 bytes big-endian size, 4 bytes type; size 1 means that 8
bytes of size follow, size 0 that the box goes to the end. Writers put the table of contents, `moov`, last
and only then the size of the data before it.
"""

from pathlib import Path


def is_whole_mp4(path: Path) -> bool:
    """Tell whether the file's boxes fill it to its last byte and its table of contents is among them."""
    length, at, found = path.stat().st_size, 0, False
    with path.open("rb") as file:
        while at < length:
            file.seek(at)
            head = file.read(16)
            size, kind = int.from_bytes(head[:4], "big"), head[4:8]
            if size == 1 and len(head) == 16:
                size = int.from_bytes(head[8:], "big")
            if size < 8 or at + size > length:
                return False
            found = found or kind == b"moov"
            at += size
    return found
