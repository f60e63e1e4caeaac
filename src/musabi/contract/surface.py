"""What an installed trainer accepts, as values: its scripts with their arguments, and its dataset keys."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Place = Literal["general", "image", "video"]
"""Where a dataset key may stand: under [general], in a dataset of images, in a dataset of videos."""


@dataclass(frozen=True, slots=True)
class Option:
    """One argument of a script.

    `flags` are all its spellings (a positional argument has its name there), `dest` is the trainer's name for
    its value. `type` is what a value is turned into: int, float, str, Path, or the name of a function of the
    trainer's own. `nargs` as argparse has it. A `switch` takes no value; one that `repeats` may be given more
    than once. `instead` is what the trainer says to write where the argument is deprecated. `defined_in` is
    the `file:function` that adds it. `unread` names the fields that could not be read from the source.
    """

    flags: tuple[str, ...]
    dest: str
    type: str = "str"
    nargs: int | str | None = None
    choices: tuple[Any, ...] | None = None
    default: Any = None
    required: bool = False
    switch: bool = False
    repeats: bool = False
    deprecated: bool = False
    instead: str = ""
    defined_in: str = ""
    unread: tuple[str, ...] = ()

    @property
    def positional(self) -> bool:
        """Whether it is given by its place."""
        return not self.flags[0].startswith("-")

    @property
    def flag(self) -> str:
        """Its first long spelling."""
        return next((flag for flag in self.flags if flag.startswith("--")), self.flags[0])


@dataclass(frozen=True)
class Script:
    """One script, by its path in the package, and its arguments by every spelling.

    `whole` is false where the source hides some of its arguments from a reader: then an unknown flag proves
    nothing. `abbreviations`: whether a flag may be shortened.
    """

    file: str
    options: Mapping[str, Option]
    whole: bool = True
    abbreviations: bool = True

    def each(self) -> Iterator[Option]:
        """Yield every argument once, in the order of the source."""
        seen: set[str] = set()
        for option in self.options.values():
            if option.flags[0] not in seen:
                seen.add(option.flags[0])
                yield option


@dataclass(frozen=True)
class DatasetKey:
    """One key of a dataset TOML. `type` is str, int, float, bool, [int] or size (a number or a pair).

    `instead` is the newer name of a deprecated key.
    """

    name: str
    type: str
    places: tuple[Place, ...]
    instead: str = ""


@dataclass(frozen=True)
class Surface:
    """Everything that one version of the trainer accepts.

    `sources` are the files that it was read from, relative to the package, and `fingerprint` is the SHA-256
    of their contents.
    """

    version: str
    commit: str
    fingerprint: str
    sources: tuple[str, ...]
    scripts: Mapping[str, Script]
    dataset: Mapping[str, DatasetKey] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What to call it: `musubi-tuner 0.3.4 (30c658c)`."""
        words = ["musubi-tuner", self.version, f"({self.commit[:7]})" if self.commit else ""]
        return " ".join(word for word in words if word)
