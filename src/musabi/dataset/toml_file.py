"""Reads a dataset TOML into its tables, or says in which line and column it goes wrong."""

import re
import tomllib
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from musabi.dataset.keys import BY_NAME
from musabi.errors import RequestError

Table = dict[str, Any]


def read_tables(path: Path) -> tuple[Table, list[Table]]:
    """Return [general] and the [[datasets]] tables of the TOML at `path`.

    Raises:
        RequestError: it can't be read, is no TOML, or has other tables; the message names file and place.
    """
    return _tables(path, _parse(path))


def nearest(name: str, names: tuple[str, ...]) -> str:
    """Return a sentence that names what was likely meant by `name`, or all that is known."""
    matches = get_close_matches(name, names, n=1, cutoff=0.5)
    return f" Did you mean {matches[0]!r}?" if matches else f" Known keys: {', '.join(names)}."


def _parse(path: Path) -> Table:
    if path.is_dir():
        inside = path / "dataset.toml"
        mend = (
            f"Name the dataset TOML in it: {inside}"
            if inside.is_file()
            else f"Name a dataset TOML. One is written by: musabi init MODEL {path}"
        )
        raise RequestError(f"{path} is a folder. {mend}")
    if path.exists() and path.suffix.lower() != ".toml":
        raise RequestError(f"The dataset config {path} must be a file whose name ends in .toml.")
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        raise RequestError(
            f"The dataset config {path} is not there. Make one with musabi init MODEL FOLDER, "
            "or name another with DATASET_CONFIG."
        ) from None
    except OSError as error:
        raise RequestError(f"The dataset config {path} can't be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise RequestError(f"The dataset config {path} is not UTF-8 text. Save it as UTF-8.") from None
    if text.startswith("\ufeff"):
        raise RequestError(f'{path} begins with a byte-order mark. Save it as UTF-8 "without BOM".')
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RequestError(f"{path}, {_where(str(error), text)}. Mend that line of the TOML.") from None


def _where(message: str, text: str) -> str:
    """Turn tomllib's message into `line L, column C: what`; "at end of document" becomes its place too."""
    what, _, place = message.rpartition(" (at ")
    found = re.match(r"line (\d+), column (\d+)", place)
    if found:
        line, column = found.groups()
        return f"line {line}, column {column}: {what}"
    lines = text.split("\n")
    return f"line {len(lines)}, column {len(lines[-1]) + 1}: {what or message}"


def _tables(path: Path, tables: Table) -> tuple[Table, list[Table]]:
    for name in tables:
        if name in ("general", "datasets"):
            continue
        if name in BY_NAME:
            place = "[general]" if "general" in BY_NAME[name].places else "[[datasets]]"
            raise RequestError(f"{path}: {name} stands above the first table. Put it under {place}.")
        raise RequestError(f"{path}: unknown key {name!r}.{nearest(name, ('general', 'datasets'))}")
    general, datasets = tables.get("general", {}), tables.get("datasets")
    if not isinstance(general, dict):
        raise RequestError(f"{path}: general must be a table. Write [general], with its keys below it.")
    if isinstance(datasets, dict):
        raise RequestError(f"{path}: [datasets] needs double brackets. Write [[datasets]].")
    if (
        not isinstance(datasets, list)
        or not datasets
        or not all(isinstance(entry, dict) for entry in datasets)
    ):
        raise RequestError(
            f"{path} has no [[datasets]] table. Add one with image_directory and cache_directory."
        )
    return general, datasets
