"""Why a captioner ended early, as a table: how it is known, how it is said."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from musabi.errors import MachineError, MusabiError, RequestError, TrainerError


@dataclass(frozen=True)
class Row:
    """A failure: the `kind` that the worker names or a `pattern` in its output, and its sentence.

    Sentences may name {title}, {place}, {vram}, {repo}, {code} and {message} (the worker's or the last line).
    """

    sentence: str
    error: type[MusabiError] = MachineError
    kind: str = ""
    pattern: str = ""


FAILURES = (
    Row(
        "{title} ran out of memory. It takes about {vram} GiB. Free the GPU (musabi stop ends a run), or name a "
        "smaller model of its kind with CAPTION_MODEL_PATH.",
        kind="memory",
    ),
    Row(
        "The trainer's environment finds no GPU. Run musabi doctor to see why, or add --device cpu, which "
        "takes minutes a picture.",
        kind="gpu",
    ),
    Row("The GPU failed: {message}. Start again; if it comes back, take another pod.", kind="cuda"),
    Row(
        "{message}, which {title} needs. Run musabi bootstrap to bring the trainer's environment up to date.",
        kind="class",
    ),
    Row(
        "{place} is no whole {title}: {message}. Fetch it again: musabi models download {repo}",
        RequestError,
        kind="weights",
    ),
    Row(
        "The trainer's environment lacks a package: {message}. Run musabi bootstrap to mend it.",
        pattern=r"No module named|requires the .* library|ImportError",
    ),
    Row("{title} can't be loaded from {place}: {message}.", RequestError, kind="model"),
    Row(
        "The captioner was killed, most likely since the main memory ran out. {title} needs some 20 GB of it "
        "while it is loaded.",
        pattern=r"^exit code -9$",
    ),
)
UNKNOWN = Row("The captioner ended with exit code {code}: {message}", TrainerError)


def failure(kind: str, message: str, code: int, names: Mapping[str, str]) -> MusabiError:
    """Return the error for a captioner that ended by itself with `code`.

    `kind` and `message` are the worker's last words, "" and its last line where it had no time for them.
    """
    text = f"{message}\nexit code {code}"
    row = next(
        (
            row
            for row in FAILURES
            if (row.pattern and re.search(row.pattern, text, re.MULTILINE)) or (kind and row.kind == kind)
        ),
        UNKNOWN,
    )
    return row.error(row.sentence.format(code=code, message=message.rstrip("."), **names))
