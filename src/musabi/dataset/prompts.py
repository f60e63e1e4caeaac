"""Reads a file of sample prompts: one prompt a line with flags, as musubi-tuner takes it.

The trainer passes over what it does not understand; here that is an error with the line's number.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from musabi.errors import RequestError
from musabi.job.prompt import Prompt
from musabi.recipes.recipe import Recipe


@dataclass(frozen=True)
class _Flag:
    """One flag of a prompt line. `takes` is what its value must match, `must` says that in words.

    `opens` is what the trainer looks for at the start of a part, the prompt's own text included.
    `many`: the flag may come several times; `file`: it names a file. `without` says why a model has no use
    for the flag; `stands` stands for the value where a person is asked for one.
    """

    name: str
    field: str = ""
    convert: Callable[[str], Any] = str
    takes: str = r".+"
    holds: Callable[[Any], bool] = lambda value: True
    must: str = "some text"
    opens: str = r"."
    many: bool = False
    file: bool = False
    without: str = ""
    stands: str = "VALUE"


_WHOLE, _DECIMAL = r"\d+", r"\d+(\.\d*)?|\.\d+"
_NO_MEDIA = "renders single pictures from text alone"
_NO_IMAGE = "takes no image here"

# musubi-tuner v0.3.4, training/sampling_prompts.py, in its order.
FLAGS = (
    _Flag("w", "width", int, _WHOLE, lambda side: side > 0, "a whole number", r"\d"),
    _Flag("h", "height", int, _WHOLE, lambda side: side > 0, "a whole number", r"\d"),
    _Flag("f", "frames", int, _WHOLE, lambda frames: frames > 0, "a whole number", r"\d", without=_NO_MEDIA),
    _Flag("d", "seed", int, _WHOLE, lambda seed: seed < 2**63, "a whole number", r"\d"),
    _Flag(
        "s", "steps", int, _WHOLE, lambda steps: 1 <= steps <= 1000, "a whole number from 1 to 1000", r"\d"
    ),
    _Flag(
        "g",
        "embedded_guidance",
        float,
        _DECIMAL,
        must="a number such as 6.0",
        opens=r"[\d.]",
        without="has no embedded guidance; its guidance scale is --l",
    ),
    _Flag("fs", "flow_shift", float, _DECIMAL, lambda shift: shift > 0, "a number above 0", r"[\d.]"),
    _Flag(
        "l",
        "guidance_scale",
        float,
        _DECIMAL,
        lambda scale: scale >= 0,
        "a number such as 4.0",
        r"[\d.]",
        without="has no guidance scale; its embedded guidance is --g",
    ),
    _Flag("n", "negative", without="has no negative prompts"),
    _Flag("i", "image", file=True, without=_NO_IMAGE, stands="PICTURE"),
    _Flag("ei", "end_image", file=True, without=_NO_IMAGE, stands="PICTURE"),
    _Flag("cn", "control_video", file=True, without=_NO_IMAGE, stands="VIDEO"),
    _Flag("ci", "controls", many=True, file=True, without=_NO_IMAGE, stands="PICTURE"),
    _Flag(
        "of",
        "one_frame",
        without="is not rendered frame by frame",
        stands="target_index=1,control_index=0",
    ),
)
_BY_NAME = {flag.name: flag for flag in FLAGS}


@dataclass(frozen=True)
class PromptRules:
    """What a model's prompts may say: its name for a person, the flags that it uses, the number of pixels that
    its sides are multiples of, and the flags that each line must have."""

    title: str = "Z-Image"
    flags: frozenset[str] = frozenset({"w", "h", "d", "s", "fs", "l", "n"})
    multiple: int = 16
    needs: tuple[str, ...] = ()


Z_IMAGE = PromptRules()


def prompt_rules(recipe: Recipe) -> PromptRules:
    """Return what the prompts of a recipe's model may say."""
    own = recipe.sampling
    return PromptRules(recipe.title, frozenset(own.prompt_flags), own.multiple, own.prompt_needs)


def read_prompts(path: Path, rules: PromptRules = Z_IMAGE) -> tuple[Prompt, ...]:
    """Read the prompts of the text file at `path`; lines that begin with # and blank lines are passed over.

    Raises:
        RequestError: the file is not there or holds something that the trainer would misread; the message
            names the file and the line.
    """
    lines = _read(path).split("\n")
    prompts = tuple(
        _prompt(f"{path}, line {number}", line.strip(), rules)
        for number, line in enumerate(lines, start=1)
        if line.strip() and not line.startswith("#")
    )
    if not prompts:
        raise RequestError(f"{path} has no prompt. Write one a line.")
    return prompts


def prompt_line(prompt: Prompt) -> str:
    """Return the line of a prompt file that says `prompt`: its text and what it gives itself."""
    parts = [prompt.text]
    for flag in FLAGS:
        if flag.field in prompt.given:
            value = getattr(prompt, flag.field)
            parts += [f"--{flag.name} {_written(one)}" for one in (value if flag.many else (value,))]
    return " ".join(parts)


def _written(value: Any) -> str:  # noqa: ANN401 - what a flag's `convert` made
    """Return a value as a prompt line takes it: a small number without an exponent."""
    return format(Decimal(repr(value)), "f") if isinstance(value, float) else str(value)


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


def _prompt(place: str, line: str, rules: PromptRules) -> Prompt:
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
    values: dict[str, Any] = {}
    for part in parts:
        flag, value = _value(place, part, rules)
        if flag.file:
            _require_file(place, flag, value)
        values[flag.field] = (*values.get(flag.field, ()), value) if flag.many else value
    _require_needed(place, values, rules)
    return Prompt(text, **values, given=frozenset(values))


def _value(place: str, part: str, rules: PromptRules) -> tuple[_Flag, Any]:
    """Return the flag that `part`, a flag without its dashes, names, and the value that it sets."""
    name, _, value = part.partition(" ")
    flag = _BY_NAME.get(name.lower())
    if flag is None:
        raise RequestError(f"{place}: unknown flag --{name}.{_nearest(name, rules)}")
    if flag.name not in rules.flags:
        why = flag.without or "does not use it"
        raise RequestError(f"{place}: --{flag.name} does nothing here: {rules.title} {why}. Remove it.")
    if flag.convert is not str:
        value = value.rstrip()
    side = flag.field in ("width", "height")
    must = f"a multiple of {rules.multiple}" if side else flag.must
    right = re.fullmatch(flag.takes, value) and flag.holds(flag.convert(value))
    if not right or (side and int(value) % rules.multiple):
        raise RequestError(f'{place}: --{flag.name} must be {must}, not "{value}".')
    return flag, flag.convert(value)


def _require_needed(place: str, values: dict[str, Any], rules: PromptRules) -> None:
    needed = [_BY_NAME[name] for name in rules.needs]
    missing = [f"--{flag.name} {flag.stands}" for flag in needed if flag.field not in values]
    if missing:
        raise RequestError(
            f"{place}: {rules.title} can't render a prompt without {' and '.join(missing)}. Add it to the line."
        )


def _require_file(place: str, flag: _Flag, value: str) -> None:
    path = Path(value.strip())
    if not path.is_absolute():
        raise RequestError(
            f"{place}: --{flag.name} {value} is no full path, and the trainer runs in another folder. Write "
            f"{path.absolute()}."
        )
    if not path.exists():
        raise RequestError(f"{place}: --{flag.name} names {path}, which is not there. Put a file there.")


def _nearest(name: str, rules: PromptRules) -> str:
    known = [flag.name for flag in FLAGS if flag.name in rules.flags]
    spelled_out = {flag.field: flag.name for flag in FLAGS if flag.name in rules.flags} | {
        "cfg": "l",
        "shift": "fs",
        "sampler": "s",
    }
    close = get_close_matches(name.lower().lstrip("-"), [*spelled_out, *known], n=1, cutoff=0.6)
    if close:
        return f" Did you mean --{spelled_out.get(close[0], close[0])}?"
    return f" Known flags: {', '.join(f'--{flag}' for flag in known)}."
