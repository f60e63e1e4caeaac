"""What is wrong or odd in captions: each kind as a row that says which captions it holds of."""

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from musabi.dataset.asked import Asked
from musabi.dataset.encodings import read_text
from musabi.dataset.finding import Finding, Level, count, names
from musabi.dataset.tokens import counter
from musabi.recipes.recipe import DatasetRules

NOT_TEXT = "is not UTF-8 text"
"""How a scan says that a caption is in another encoding."""
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


@dataclass(frozen=True)
class Captioned:
    """One caption: its text as it is trained, and the file that it is in (of a JSONL: the picture's)."""

    text: str
    file: Path


@dataclass(frozen=True)
class Fault:
    """A kind of fault. `told` goes on after "3 captions in FOLDER"; `mark` names it on the sheet."""

    mark: str
    level: Level
    holds: Callable[[Captioned], bool]
    told: str
    mend: str


def faults(captions: Sequence[Captioned], rules: DatasetRules, asked: Asked) -> tuple[Fault, ...]:
    """Return the kinds of faults to look for, as they are for the model's rules and a person's wishes."""
    return (
        *_PLAIN,
        *_json_rows(rules),
        *_trigger_rows(asked.trigger_word),
        *_length_rows(captions, rules.caption_tokens, asked.tokenizer),
    )


def caption_findings(
    folder: Path, captions: Sequence[Captioned], rules: DatasetRules, asked: Asked
) -> Iterable[Finding]:
    """Yield a finding for each kind of fault, and one for captions that several images share."""
    for fault in faults(captions, rules, asked):
        files = [caption.file for caption in captions if caption.text and fault.holds(caption)]
        if files:
            yield Finding(
                fault.level,
                f"{count(len(files), 'caption')} in {folder} {fault.told}: {names(files)}. {fault.mend}",
                folder,
            )
    yield from _shared(folder, captions)


_PLAIN = (
    Fault(
        "odd letters",
        "warning",
        lambda caption: _CONTROL.search(caption.text) is not None,
        "with control characters, which are trained as text",
        "Save them again as UTF-8 text, or run musabi check --fix.",
    ),
    Fault(
        "odd letters",
        "warning",
        lambda caption: "\ufffd" in caption.text,
        'with the mark "\ufffd", which stands where a letter was lost',
        "Write these captions again.",
    ),
)


def _json_rows(rules: DatasetRules) -> tuple[Fault, ...]:
    if not rules.caption_is_json:
        return ()
    return (
        Fault(
            "no JSON",
            "warning",
            lambda caption: not _is_object(caption.text),
            "that are no JSON object, which this model was trained on",
            "Write them as JSON, or go on if plain prompts are meant.",
        ),
    )


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


def _trigger_rows(word: str | None) -> tuple[Fault, ...]:
    if not word or not word.strip():
        return ()
    inside = r"(?<!\w)" + re.escape(word.strip()) + r"(?!\w)"
    exact, any_case = re.compile(inside), re.compile(inside, re.IGNORECASE)

    def spelled_otherwise(caption: Captioned) -> bool:
        return not exact.search(caption.text) and any_case.search(caption.text) is not None

    return (
        Fault(
            "no trigger",
            "warning",
            lambda caption: not any_case.search(caption.text),
            f'without the trigger word "{word.strip()}"',
            "Add it, or the LoRA learns these images without it.",
        ),
        Fault(
            "trigger spelled otherwise",
            "warning",
            spelled_otherwise,
            f'with another spelling of the trigger word "{word.strip()}"',
            "Spell it the same everywhere.",
        ),
    )


def _length_rows(
    captions: Sequence[Captioned], most: int | None, tokenizer: Path | None
) -> tuple[Fault, ...]:
    # A token is at least one byte: where no caption has so many, no tokenizer need be loaded.
    if most is None or not any(len(caption.text.encode()) > most for caption in captions):
        return ()
    counting = counter(tokenizer)
    most_said = f"more than {most} tokens" + ("" if counting.exact else ", by an estimate")
    return (
        Fault(
            "too long",
            "warning",
            lambda caption: len(caption.text.encode()) > most and counting.count(caption.text) > most,
            f"of {most_said}, where the text encoder cuts off the rest",
            "Shorten them, with what matters first.",
        ),
    )


def _shared(folder: Path, captions: Sequence[Captioned]) -> Iterable[Finding]:
    """Say which captions several images share; that all share one is said elsewhere."""
    together: dict[str, list[Path]] = {}
    for caption in captions:
        together.setdefault(caption.text, []).append(caption.file)
    groups = [files for text, files in together.items() if text and len(files) > 1]
    if groups and len(together) > 1:
        shown = "; ".join(names(files) for files in groups[:3]) + (" and more" if len(groups) > 3 else "")
        yield Finding(
            "note",
            f"{count(sum(map(len, groups)), 'image')} in {folder} share a caption with another: {shown}. "
            "Say in each what sets its image apart.",
            folder,
        )


def guessed(file: Path) -> str:
    """Return why a caption that is no UTF-8 can't be trained on, with a guess of what it is."""
    try:
        return f"{NOT_TEXT} but looks like {read_text(file.read_bytes())[1]}"
    except OSError:
        return NOT_TEXT
