"""The source files of a checkout: which hold scripts, whether they changed, and of which commit they are."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

SCRIPT_FOLDERS = ("", "networks")
"""Where scripts that people run lie in the package; elsewhere are only developers' own tests."""


def entry_files(package: Path) -> tuple[str, ...]:
    """Return the files that may be scripts, relative to the package, in the order of their names."""
    return tuple(
        path.relative_to(package).as_posix()
        for folder in SCRIPT_FOLDERS
        for path in sorted((package / folder).glob("*.py"))
        if path.name != "__init__.py"
    )


def content_fingerprint(package: Path, sources: Iterable[str]) -> str | None:
    """Return the SHA-256 of the files' names and contents, or None where one can't be read."""
    total = hashlib.sha256()
    for file in sources:
        try:
            content = (package / file).read_bytes()
        except OSError:
            return None
        total.update(f"{file} {hashlib.sha256(content).hexdigest()}\n".encode())
    return total.hexdigest()


def stamp(package: Path, sources: Iterable[str]) -> str:
    """Return the SHA-256 of the checkout's commit and of the names, sizes and times of its files.

    Scripts that came since count too. A file that is gone changes the stamp as well.
    """
    total = hashlib.sha256(commit_of(package.parents[1]).encode())
    for file in sorted({*sources, *entry_files(package)}):
        try:
            told = (package / file).stat()
            total.update(f"{file} {told.st_size} {told.st_mtime_ns}\n".encode())
        except OSError:
            total.update(f"{file} gone\n".encode())
    return total.hexdigest()


def commit_of(checkout: Path) -> str:
    """Return the commit that is checked out, "" where that can't be told."""
    git = checkout / ".git"
    try:
        head = (git / "HEAD").read_text(encoding="ascii").strip()
        if not head.startswith("ref: "):
            return head
        name = head.removeprefix("ref: ")
        if (git / name).is_file():
            return (git / name).read_text(encoding="ascii").strip()
        packed = (git / "packed-refs").read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError):
        return ""
    return next((line.split(" ")[0] for line in packed if line.endswith(f" {name}")), "")
