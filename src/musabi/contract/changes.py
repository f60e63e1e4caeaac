"""What another version of the trainer changed, in plain lines."""

from collections.abc import Iterator
from typing import Any

from musabi.contract.kinds import kind_of
from musabi.contract.surface import DatasetKey, Option, Script, Surface

MOST_NAMES = 3
"""Scripts that are named where the same change is in more of them."""
_FIELDS = {
    "flags": "spellings",
    "type": "type",
    "nargs": "number of values",
    "default": "default",
    "required": "required",
    "switch": "a switch",
    "repeats": "may be repeated",
    "deprecated": "deprecated",
}


def differences(old: Surface, new: Surface) -> tuple[str, ...]:
    """Return what is otherwise in `new` than in `old`: scripts, arguments, dataset keys. () if nothing."""
    changes: dict[str, list[str]] = {}
    for file in (*old.scripts, *(file for file in new.scripts if file not in old.scripts)):
        for line in _script(file, old.scripts.get(file), new.scripts.get(file)):
            changes.setdefault(line, []).append(file)
    scripts = [
        line if line.startswith("script ") else f"{line} ({_where(files)})" for line, files in changes.items()
    ]
    return (*scripts, *_dataset(old, new))


def _where(files: list[str]) -> str:
    named = ", ".join(files[:MOST_NAMES])
    return named if len(files) <= MOST_NAMES else f"{named} and {len(files) - MOST_NAMES} more"


def _script(file: str, old: Script | None, new: Script | None) -> Iterator[str]:
    if old is None:
        yield f"script {file}: added"
    elif new is None:
        yield f"script {file}: removed"
    else:
        yield from _options(old, new)
        if old.whole != new.whole:
            yield "its arguments can be read now" if new.whole else "some of its arguments can't be read"


def _options(old: Script, new: Script) -> Iterator[str]:
    before, after = ({option.flag: option for option in script.each()} for script in (old, new))
    for flag, option in before.items():
        if flag not in after:
            yield f"{flag}: removed"
        else:
            yield from _option(option, after[flag])
    for flag, option in after.items():
        if flag not in before:
            required = ", required" if option.required else ""
            yield f"{flag}: added, {'a switch' if option.switch else kind_of(option).one}{required}"


def _option(old: Option, new: Option) -> Iterator[str]:
    for name, words in _FIELDS.items():
        before, after = getattr(old, name), getattr(new, name)
        if before != after and name not in (*old.unread, *new.unread):
            yield f"{new.flag}: {words} {_shown(after)}, was {_shown(before)}"
    if old.choices != new.choices:
        gone = [choice for choice in old.choices or () if choice not in (new.choices or ())]
        come = [choice for choice in new.choices or () if choice not in (old.choices or ())]
        told = [f"without {_shown(gone)}"] * bool(gone) + [f"with {_shown(come)}"] * bool(come)
        yield f"{new.flag}: choices {' and '.join(told) or 'in another order'}"


def _dataset(old: Surface, new: Surface) -> Iterator[str]:
    for name in (*old.dataset, *(name for name in new.dataset if name not in old.dataset)):
        before, after = old.dataset.get(name), new.dataset.get(name)
        if before != after:
            yield f"dataset key {name}: {_key(after) if after else 'removed'}" + (
                f", was {_key(before)}" if before and after else ", added" if after else ""
            )


def _key(key: DatasetKey) -> str:
    return f"{key.type} in {', '.join(key.places)}" + (f", now {key.instead}" if key.instead else "")


def _shown(value: Any) -> str:  # noqa: ANN401 - any default
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "nothing"
    words = {True: "yes", False: "no"}
    return "none" if value is None else words[value] if isinstance(value, bool) else str(value)
