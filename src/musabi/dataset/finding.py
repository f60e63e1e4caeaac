"""A finding about a dataset: a plain sentence with its mend, and the words that findings share."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from musabi.errors import RequestError
from musabi.job.facts import BucketFacts

Level = Literal["error", "warning", "note"]
Verb = Literal["", "musabi check --fix", "musabi caption"]
NAMED = 10
"""How many names a message lists before it says how many more there are."""


@dataclass(frozen=True)
class Finding:
    """One thing about the dataset. `path` is the file or folder that it is about, or the config.

    `mended_by` is the command that mends it, "" where only a person can.
    """

    level: Level
    message: str
    path: Path
    mended_by: Verb = ""

    def as_json(self) -> dict[str, str]:
        return {**asdict(self), "path": str(self.path)}


def names(paths: Iterable[Path]) -> str:
    """Return the file names, ten at most, then how many more there are."""
    listed = [path.name for path in paths]
    more = len(listed) - NAMED
    return ", ".join(listed[:NAMED]) + (f" and {more} more" if more > 0 else "")


def count(number: int, one: str, many: str = "") -> str:
    """Return "1 image" or "3 images"."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def refuse_errors(findings: Sequence[Finding]) -> None:
    """Raise a RequestError that says the errors among the findings, one a line, ten at most."""
    errors = [finding.message for finding in findings if finding.level == "error"]
    more = len(errors) - NAMED
    if more > 0:
        errors[NAMED:] = [f"And {count(more, 'more fault')}: musabi check lists them all."]
    if errors:
        raise RequestError("\n".join(errors))


def bucket_name(bucket: BucketFacts) -> str:
    """Return "1024x768", or "1024x768 and 25 frames"."""
    size = f"{bucket.width}x{bucket.height}"
    return size if bucket.frames == 1 else f"{size} and {bucket.frames} frames"
