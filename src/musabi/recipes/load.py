"""The recipe files: finding one by its name or alias, and putting it together with what it extends."""

import os
import tomllib
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from musabi.errors import RequestError
from musabi.recipes.recipe import Recipe

FOLDER = Path(__file__).parent
OWN_FOLDER = "MUSABI_RECIPES"
"""Names a folder with recipes of one's own; one of a known name wins over the one that comes with musabi."""


REPLACED = frozenset({"example"})
"""Tables that a recipe says anew: an example for clips is none for pictures."""


def names() -> tuple[str, ...]:
    """Return the names of the models that there is a recipe for."""
    return tuple(sorted(_files()))


@cache
def load(name: str) -> Recipe:
    """Return the recipe of a model, by its name or an alias.

    Raises:
        RequestError: there is none of that name, or its file is wrong.
    """
    files = _files()
    if name in files:
        return _recipe(files[name])
    for path in files.values():
        if name in _tables(path).get("aliases", ()):
            return _recipe(path)
    near = get_close_matches(name, files, n=3, cutoff=0.4) or list(files)[:5]
    raise RequestError(
        f'There is no recipe for the model "{name}". Near to it: {", ".join(near)}. '
        "List all with: musabi models list"
    )


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with `over` laid over it: tables key by key, everything else and examples as a whole."""
    made = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(made.get(key), dict) and key not in REPLACED
        made[key] = merged(made[key], value) if both else value
    return made


def _folders() -> Iterator[Path]:
    yield FOLDER
    own = os.environ.get(OWN_FOLDER)
    if own:
        yield Path(own)


def _files() -> dict[str, Path]:
    return {path.stem: path for folder in _folders() for path in sorted(folder.glob("*.toml"))}


def _recipe(path: Path) -> Recipe:
    values = _tables(path)
    try:
        recipe = Recipe.model_validate(values)
    except ValidationError as wrong:
        error = wrong.errors()[0]
        where = ".".join(map(str, error["loc"]))
        raise RequestError(f"{path}: {where}: {error['msg']}. Mend that key of the recipe.") from None
    if recipe.name != path.stem:
        raise RequestError(f'{path} says name = "{recipe.name}". Name the file {recipe.name}.toml.')
    return recipe


def _tables(path: Path) -> dict[str, Any]:
    """Return a recipe's tables over those of the family file that it extends, `families/NAME.toml`.

    Traps of both are kept.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as wrong:
        raise RequestError(f"{path} is not TOML: {wrong}.") from None
    family = values.pop("extends", None)
    if family is None:
        return values
    base = FOLDER / "families" / f"{family}.toml"
    if not base.is_file():
        raise RequestError(f'{path} extends "{family}", but there is no {base}.')
    below = _tables(base)
    return merged(below, values) | {"traps": [*below.get("traps", ()), *values.get("traps", ())]}
