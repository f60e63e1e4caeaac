"""One dataset TOML being read for one model: its keys and paths, each refused with the place it stands at."""

import os
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from musabi.dataset.keys import BY_NAME, Medium, Place, taken, used_keys, uses
from musabi.dataset.toml_file import Table, nearest
from musabi.errors import RequestError
from musabi.recipes.recipe import DatasetRules


@dataclass(frozen=True)
class Reading:
    """The file, the table in it, and the model that it is read for: rules, name in cache files, title."""

    path: Path
    rules: DatasetRules
    architecture: str
    model: str
    table: str = "[general]"

    @property
    def place(self) -> str:
        """How a message begins: the file and the table."""
        return f"{self.path}, {self.table}"


def check_keys(reading: Reading, place: Place, table: Table) -> None:
    """Raise a RequestError where a key is unknown, out of place, of no use to the model or of the wrong type."""
    used = used_keys(reading.rules)
    for name, value in table.items():
        key = BY_NAME.get(name)
        if key is None:
            here = tuple(known for known in used if place in BY_NAME[known].places)
            close = get_close_matches(name, used, n=1, cutoff=0.5)
            raise RequestError(
                f"{reading.place}: unknown key {name!r}.{nearest(name, used if close else here)}"
            )
        if not uses(key, reading.rules):
            raise RequestError(
                f"{reading.place}: {name} is for {key.only_for}, and {reading.model} takes "
                f"{taken(reading.rules)}. Remove it."
            )
        if key.now:
            raise RequestError(f"{reading.place}: {name} is now called {key.now}. Rename it.")
        if place not in key.places:
            raise RequestError(f"{reading.place}: {name} belongs under [[datasets]]. Move it there.")
        if not key.kind.holds(value):
            raise RequestError(f"{reading.place}: {name} must be {key.kind.name}, not {_shown(value)}.")


def check_medium(reading: Reading, medium: Medium, table: Table) -> None:
    """Raise a RequestError where a known key is one of the other kind of dataset."""
    for name in table:
        if medium not in BY_NAME[name].media:
            other = "a video" if medium == "image" else "an image"
            raise RequestError(f"{reading.place}: {name} belongs to {other} dataset. Remove it.")


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value)


def existing_folder(reading: Reading, name: str, value: str, holds: str) -> Path:
    """Return the folder `value`, which must be there. `holds` says what is in it."""
    folder = absolute(reading, name, value)
    if not folder.exists():
        raise RequestError(f"{reading.place}: {name} {folder} is not there. Make it, or correct the path.")
    if not folder.is_dir():
        raise RequestError(
            f"{reading.place}: {name} {folder} is not a folder. Name the folder of the {holds}."
        )
    return folder


def absolute(reading: Reading, name: str, value: str) -> Path:
    """Return the absolute path `value`; the trainer would look for a relative one wherever it was started."""
    given = Path(value)
    if value and given.is_absolute():
        return Path(os.path.normpath(given))
    beside = reading.path.resolve().parent / given.expanduser()
    here = Path.cwd() / given.expanduser()
    meant = here if here.exists() and not beside.exists() else beside
    raise RequestError(
        f'{reading.place}: {name} must be an absolute path, not "{value}", which the trainer would look for '
        f'in the folder it runs in. Write {name} = "{os.path.normpath(meant)}".'
    )
