"""What is odd about pictures that the trainer does read: a table of rows, and the findings they give."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from musabi.dataset.decoding import Looked
from musabi.dataset.finding import Finding, Level, count, names


@dataclass(frozen=True)
class Oddity:
    """A kind of picture. `told` goes on after "3 images in FOLDER", `mark` names it on the sheet."""

    mark: str
    level: Level
    holds: Callable[[Looked], bool]
    told: str


# The trainer opens a picture and calls convert("RGB") where it is neither RGB nor RGBA, and drops the
# fourth channel later (musubi-tuner v0.3.4, dataset/datasources.py and the scripts that cache latents).
ODDITIES = (
    Oddity(
        "16-bit",
        "error",
        lambda looked: looked.mode.startswith(("I", "F")),
        "with 16 bits a channel or more, which the trainer reads as almost white",
    ),
    Oddity(
        "CMYK",
        "warning",
        lambda looked: looked.mode == "CMYK",
        "in the colours of print (CMYK), which the trainer turns into other colours than you see",
    ),
    Oddity(
        "transparent",
        "warning",
        lambda looked: looked.clear,
        "with transparent parts, where the trainer sees whatever colour lies beneath, often black",
    ),
    Oddity(
        "animated",
        "warning",
        lambda looked: looked.frames > 1,
        "with several frames, of which the trainer takes the first",
    ),
)
MEND = "Run musabi check --fix for a copy that is mended."


def oddities(looked: Looked, *, takes_alpha: bool) -> tuple[Oddity, ...]:
    """Return what is odd about a picture that was decoded. `takes_alpha`: the model trains transparency."""
    return tuple(
        oddity
        for oddity in ODDITIES
        if not looked.reason and oddity.holds(looked) and not (takes_alpha and oddity.mark == "transparent")
    )


def format_findings(
    folder: Path, images: Iterable[Path], seen: Mapping[Path, Looked], *, takes_alpha: bool
) -> Iterable[Finding]:
    """Yield a finding for each kind of odd picture among the images of a dataset."""
    found: dict[Oddity, list[Path]] = {}
    for image in images:
        for oddity in oddities(seen[image], takes_alpha=takes_alpha) if image in seen else ():
            found.setdefault(oddity, []).append(image)
    for oddity, files in found.items():
        yield Finding(
            oddity.level,
            f"{count(len(files), 'image')} in {folder} {oddity.told}: {names(files)}. {MEND}",
            folder,
            "musabi check --fix",
        )
