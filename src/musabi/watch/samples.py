"""The sample pictures of a run as a grid of prompt x checkpoint."""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from musabi.job.record import ProducedFile

# musubi-tuner's names: NAME_e000010_00_20260131140500_42_000.png, or the step instead of e + epoch.
_NAME = re.compile(
    r"_(?:e(?P<epoch>\d{6})|(?P<step>\d{6,}))_(?P<prompt>\d{2,})_(?P<made>\d{14})(?:_(?P<rest>[\d_]+))?"
)
# Pictures made after the training: NAME_00_20260131140500..., or with only the time.
_FINAL = re.compile(r"_(?:(?P<prompt>\d{2})_)?\d{8}-?\d{6}(?:[_-].*)?")
PICTURES = frozenset({".png", ".jpg", ".jpeg", ".webp"})


@dataclass(frozen=True, order=True)
class Moment:
    """When in the run a sample was made: `position` in steps, `label` for a person."""

    position: float
    label: str


@dataclass(frozen=True)
class Sample:
    """One picture. `prompt` counts from 0, `made` is Unix seconds."""

    path: Path
    moment: Moment
    prompt: int
    made: float


@dataclass(frozen=True)
class Grid:
    """Rows of prompts, columns of moments. `cells[prompt, moment]` is the newest picture made for both.

    `left_out` counts the moments between the first and the last that are not shown.
    """

    prompts: tuple[int, ...]
    moments: tuple[Moment, ...]
    cells: dict[tuple[int, Moment], Path]
    left_out: int = 0


AFTER = Moment(math.inf, "After training")


def sample_files(
    files: Iterable[ProducedFile],
    folder: Path,
    output_name: str,
    since: float,
    suffixes: frozenset[str] = PICTURES,
) -> list[ProducedFile]:
    """Return the samples of a run that are on disk, those with one of the `suffixes`.

    Those of its record, and those in `folder` that bear its name and were made at or after `since` (Unix
    seconds): a runner that was killed had no time to write them down.
    """
    known = {file.path: file for file in files if file.kind == "sample"}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        name = path.stem.removeprefix(output_name) if path.stem.startswith(output_name) else ""
        stat = path.stat()
        if (_NAME.fullmatch(name) or _FINAL.fullmatch(name)) and path not in known and stat.st_mtime >= since:
            known[path] = ProducedFile(kind="sample", path=path, size=stat.st_size, made=stat.st_mtime)
    return [file for file in known.values() if file.path.suffix.lower() in suffixes and file.path.is_file()]


def read_sample(file: ProducedFile, output_name: str, steps_per_epoch: int) -> Sample:
    """Return what a sample's name says; a picture under another name was made after the training."""
    stem = file.path.stem
    ending = stem.removeprefix(output_name) if stem.startswith(output_name) else ""
    name = _NAME.fullmatch(ending)
    if name is None:
        final = _FINAL.fullmatch(ending)
        return Sample(file.path, AFTER, int(final["prompt"] or -1) if final else -1, file.made)
    if name["epoch"] is not None:
        epoch = int(name["epoch"])
        label = f"Epoch {epoch}" if epoch else "Before training"
        moment = Moment(float(epoch * (steps_per_epoch or 1)), label)
    else:
        moment = Moment(float(name["step"]), f"Step {int(name['step']):,}")
    return Sample(file.path, moment, int(name["prompt"]), file.made)


def grid(samples: Iterable[Sample], prompts: int = 0, most_moments: int = 12) -> Grid:
    """Arrange samples by prompt and moment.

    Pictures without a prompt number count up in the order of their making, again from 0 after each set of
    `prompts` (0: how many there are is unknown).
    """
    cells: dict[tuple[int, Moment], Path] = {}
    unnumbered = 0
    for sample in sorted(samples, key=lambda sample: (sample.made, sample.path.name)):
        prompt = sample.prompt
        if prompt < 0:
            prompt = unnumbered % prompts if prompts else unnumbered
            unnumbered += 1
        cells[prompt, sample.moment] = sample.path
    moments = sorted({moment for _, moment in cells})
    shown = spread(moments, most_moments)
    kept = {key: path for key, path in cells.items() if key[1] in shown}
    rows = tuple(sorted({prompt for prompt, _ in kept}))
    return Grid(rows, tuple(shown), kept, len(moments) - len(shown))


def spread(items: Sequence[Moment], most: int) -> list[Moment]:
    """Return at most `most` (2 or more) items, evenly spread, with the first and the last among them."""
    if len(items) <= most:
        return list(items)
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]


def read_prompts(path: Path) -> list[str]:
    """Return the prompts of a sample_prompts.txt without their `--` options; [] where it can't be read."""
    if path.suffix.lower() != ".txt":
        return []
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    kept = (line.strip() for line in lines)
    return [line.split(" --")[0].strip() for line in kept if line and not line.startswith("#")]
