"""What tells one state of a file or folder from another, without reading it."""

from pathlib import Path

Stamp = tuple[int, int, int]
"""When it was written (ns), its size in bytes, its inode: another file, or one written again, has another."""
NONE: Stamp = (0, 0, 0)


def stamp_of(path: Path) -> Stamp:
    """Return the stamp of what lies at a path, links followed; NONE where nothing does or it can't be looked at."""
    try:
        found = path.stat()
    except (OSError, ValueError):  # ValueError: a name that no file can have
        return NONE
    return found.st_mtime_ns, found.st_size, found.st_ino
