"""What is wrong with a command line or a dataset TOML, as a value."""

from dataclasses import dataclass
from typing import Literal

What = Literal[
    "script",
    "unknown",
    "abbreviation",
    "choice",
    "type",
    "missing value",
    "too many",
    "required",
    "twice",
    "deprecated",
    "place",
]
NOTES: frozenset[What] = frozenset({"twice", "deprecated"})
"""What the trainer takes all the same, though it may not be what was meant."""


@dataclass(frozen=True)
class Fault:
    """One fault: the argument or key, what kind of fault it is, and a plain sentence or two with the mend."""

    flag: str
    what: What
    message: str

    @property
    def refused(self) -> bool:
        """Whether the trainer would end with an error; else it is a note."""
        return self.what not in NOTES
