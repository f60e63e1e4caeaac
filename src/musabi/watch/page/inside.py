"""Names that a browser sends, as files inside a folder: nothing else is ever served or changed."""

from pathlib import Path

from musabi.errors import RequestError


def lies_in(path: Path, *roots: Path) -> bool:
    """Tell whether a path lies below one of these folders, links followed."""
    try:
        real = path.resolve()
        bases = [root.resolve() for root in roots]
    except (OSError, RuntimeError, ValueError):  # too long, links in a circle, no text
        return False
    return any(real != base and real.is_relative_to(base) for base in bases)


def inside(root: Path, name: str) -> Path:
    """Return the file of that relative name below `root`, links followed.

    Raises:
        RequestError: the name is empty, leads out of `root`, or has parts that are hidden.
    """
    parts = Path(name).parts
    if not parts or "\0" in name or Path(name).is_absolute() or any(part.startswith(".") for part in parts):
        raise RequestError(f'"{name[:80]}" is no file of this page.')
    try:
        path, base = (root / name).resolve(), root.resolve()
        path.exists()
    except (OSError, RuntimeError, ValueError) as problem:  # too long, links in a circle, no text
        raise RequestError(f'"{name[:80]}" can\'t be looked up.') from problem
    if not path.is_relative_to(base) or path == base:
        raise RequestError(f'"{name[:80]}" is no file of this page.')
    return root / name
