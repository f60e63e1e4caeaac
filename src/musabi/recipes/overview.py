"""All models at a glance: what each takes and whether its files are here."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from musabi.recipes.load import load, names
from musabi.recipes.recipe import Recipe, Weights

Here = Literal["yes", "part", "no"]


@dataclass(frozen=True)
class Row:
    """One model. `vram_gib` is the least GPU memory it trains with, `disk_gb` (10^9 bytes) about what its files
    take; models that share files share their room too."""

    name: str
    title: str
    makes: str
    vram_gib: float
    disk_gb: float
    licence: str
    gated: bool
    here: Here

    def as_json(self) -> dict[str, Any]:
        """Return the row as values that JSON can hold."""
        return asdict(self)


def overview(models: Path) -> list[Row]:
    """Return a row for each model; `models` is the folder that weights are fetched to."""
    return [_row(load(name), models) for name in names()]


def overview_as_text(rows: list[Row]) -> str:
    """Return the rows as a table for a terminal."""
    head = ("model", "makes", "VRAM", "disk", "here", "licence")
    cells = [
        (
            row.name,
            row.makes,
            f"{row.vram_gib:g} GiB",
            f"{row.disk_gb:.0f} GB",
            row.here,
            row.licence + (", to be accepted on the hub" if row.gated else ""),
        )
        for row in rows
    ]
    widths = [max(len(line[column]) for line in (head, *cells)) for column in range(len(head))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        for line in (head, *cells)
    ]
    return "\n".join(line.rstrip() for line in lines)


def _row(recipe: Recipe, models: Path) -> Row:
    there = [_is_here(one, models) for one in recipe.weights.values()]
    return Row(
        name=recipe.name,
        title=recipe.title,
        makes=recipe.makes,
        vram_gib=recipe.memory.min_vram_gib,
        disk_gb=round(sum(one.gigabytes for one in recipe.weights.values()), 1),
        licence=recipe.licence,
        gated=any(one.gated for one in recipe.weights.values()),
        here="yes" if all(there) else "part" if any(there) else "no",
    )


def _is_here(weights: Weights, models: Path) -> bool:
    """Tell whether the files are there and about as large as they should be: a small model is none of them."""
    files = [models / weights.folder / Path(file).name for file in weights.files]
    size = sum(file.stat().st_size for file in files if file.is_file())
    return all(file.is_file() for file in files) and size > weights.gigabytes * 1e9 / 2
