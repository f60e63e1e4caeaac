"""Reads a file of sample prompts: one prompt a line with flags, as musubi-tuner takes it for Z-Image.

The trainer passes over what it does not understand; here that is an error with the line's number.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from musabi.errors import RequestError

SIDE_STEP = 16
"""The sides of a Z-Image picture are multiples of this, in pixels (VAE 8, patch 2)."""


@dataclass(frozen=True)
class Prompt:
    """One picture to render. `width` and `height` are pixels; `seed` None takes a new one each time.

    `guidance_scale` is that of classifier-free guidance (the trainer's --l), off at 1 or less. The
    defaults are musubi-tuner's for Z-Image (v0.3.4, training/trainer_base.py, zimage_train_network.py).
    """

    text: str
    width: int = 256
    height: int = 256
    seed: int | None = None
    steps: int = 20
    guidance_scale: float = 4.0
    flow_shift: float = 3.0
    negative: str = ""


@dataclass(frozen=True)
class _Flag:
    """One flag of a prompt line. `takes` is what its value must match, `must` says that in words.

    `opens` is what the trainer looks for at the start of a part, the prompt's own text included.
    `refusal` says why Z-Image has no use for the flag.
    """

    name: str
    field: str = ""
    convert: Callable[[str], Any] = str
    takes: str = r".+"
    holds: Callable[[Any], bool] = lambda value: True
    must: str = "some text"
    opens: str = r"."
    refusal: str = ""


_WHOLE, _DECIMAL = r"\d+", r"\d+(\.\d*)?|\.\d+"
_SIDE = f"a multiple of {SIDE_STEP}"
_NO_MEDIA = "Z-Image renders single pictures from text alone"

# musubi-tuner v0.3.4, training/sampling_prompts.py, in its order.
FLAGS = (
    _Flag("w", "width", int, _WHOLE, lambda side: side > 0 and side % SIDE_STEP == 0, _SIDE, r"\d"),
    _Flag("h", "height", int, _WHOLE, lambda side: side > 0 and side % SIDE_STEP == 0, _SIDE, r"\d"),
    _Flag("f", opens=r"\d", refusal=_NO_MEDIA),
    _Flag("d", "seed", int, _WHOLE, lambda seed: seed < 2**63, "a whole number", r"\d"),
    _Flag(
        "s", "steps", int, _WHOLE, lambda steps: 1 <= steps <= 1000, "a whole number from 1 to 1000", r"\d"
    ),
    _Flag("g", opens=r"[\d.]", refusal="Z-Image has no embedded guidance; its guidance scale is --l"),
    _Flag("fs", "flow_shift", float, _DECIMAL, lambda shift: shift > 0, "a number above 0", r"[\d.]"),
    _Flag("l", "guidance_scale", float, _DECIMAL, lambda scale: scale >= 0, "a number such as 4.0", r"[\d.]"),
    _Flag("n", "negative"),
    _Flag("i", refusal=_NO_MEDIA),
    _Flag("ei", refusal=_NO_MEDIA),
    _Flag("cn", refusal=_NO_MEDIA),
    _Flag("ci", refusal=_NO_MEDIA),
    _Flag("of", refusal=_NO_MEDIA),
)
_BY_NAME = {flag.name: flag for flag in FLAGS}


def read_prompts(path: Path) -> tuple[Prompt, ...]:
    """Read the prompts of the text file at `path`; lines that begin with # and blank lines are passed over.

    Raises:
        RequestError: the file is not there or holds something that the trainer would misread; the message
            names the file and the line.
    """
    lines = _read(path).split("\n")
    prompts = tuple(
        _prompt(f"{path}, line {number}", line.strip())
        for number, line in enumerate(lines, start=1)
        if line.strip() and not line.startswith("#")
    )
    if not prompts:
        raise RequestError(f"{path} has no prompt. Write one a line.")
    return prompts


def _read(path: Path) -> str:
    if path.suffix != ".txt":
        raise RequestError(
            f"The sample prompts {path} must be a file whose name ends in .txt, one prompt a line."
        )
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        raise RequestError(
            f"The sample prompts {path} are not there. Copy sample_prompts.txt to that place, "
            "or name another file with SAMPLE_PROMPTS."
        ) from None
    except OSError as error:
        raise RequestError(f"The sample prompts {path} can't be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise RequestError(f"The sample prompts {path} are not UTF-8 text. Save the file as UTF-8.") from None
    if text.startswith("\ufeff"):
        raise RequestError(f'{path} begins with a byte-order mark. Save it as UTF-8 "without BOM".')
    return text


def _prompt(place: str, line: str) -> Prompt:
    text, *parts = line.split(" --")
    if text.startswith("#"):
        raise RequestError(
            f"{place}: # must be the first character of a comment. Remove the space before it."
        )
    if text.startswith("--"):
        raise RequestError(f"{place} has flags and no prompt. Write the prompt before them.")
    for flag in FLAGS:
        if re.match(rf"{flag.name} {flag.opens}", text, re.IGNORECASE):
            raise RequestError(
                f'{place} begins with "{text[: len(flag.name)]} ", which the trainer reads as its flag '
                f"--{flag.name}. Begin the prompt with another word."
            )
    return Prompt(text, **dict(_value(place, part) for part in parts))


def _value(place: str, part: str) -> tuple[str, Any]:
    """Return the field and the value that `part`, a flag without its dashes, sets."""
    name, _, value = part.partition(" ")
    flag = _BY_NAME.get(name.lower())
    if flag is None:
        raise RequestError(f"{place}: unknown flag --{name}.{_nearest(name)}")
    if flag.refusal:
        raise RequestError(f"{place}: --{flag.name} does nothing here: {flag.refusal}. Remove it.")
    if flag.convert is not str:
        value = value.rstrip()
    if not re.fullmatch(flag.takes, value) or not flag.holds(flag.convert(value)):
        raise RequestError(f'{place}: --{flag.name} must be {flag.must}, not "{value}".')
    return flag.field, flag.convert(value)


def _nearest(name: str) -> str:
    known = [flag.name for flag in FLAGS if not flag.refusal]
    spelled_out = {flag.field: flag.name for flag in FLAGS if flag.field} | {
        "cfg": "l",
        "shift": "fs",
        "sampler": "s",
    }
    close = get_close_matches(name.lower().lstrip("-"), [*spelled_out, *known], n=1, cutoff=0.6)
    if close:
        return f" Did you mean --{spelled_out.get(close[0], close[0])}?"
    return f" Known flags: {', '.join(f'--{flag}' for flag in known)}."
