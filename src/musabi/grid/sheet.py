"""A grid from beginning to end: what is missing is rendered, then all of it is drawn."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from musabi.grid.cells import Column
from musabi.grid.drawing import draw_grid
from musabi.grid.layout import Group
from musabi.grid.rendering import Studio, render
from musabi.job.prompt import Prompt


@dataclass(frozen=True)
class Done:
    """A drawn grid. `pictures` is by (row, column); `empty` names the cells that stayed grey, `problems` why."""

    path: Path
    prompts: tuple[Prompt, ...]
    columns: tuple[Column, ...]
    pictures: dict[tuple[int, int], Path]
    rendered: int
    empty: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def as_text(self) -> str:
        """Return what came of it, for a person."""
        cells = len(self.prompts) * len(self.columns)
        kept = len(self.pictures) - self.rendered
        lines = [
            f"{self.path}: {_count(cells)}" + (f", {kept} of them kept from before." if kept > 0 else ".")
        ]
        if self.empty:
            lines += [f"{_count(len(self.empty))} stayed grey:", *(f"  {name}" for name in self.empty)]
            lines += self.problems
            lines.append("The same command tries them again and keeps the rest.")
        return "\n".join(lines)

    def as_json(self) -> dict[str, Any]:
        """Return it for a program."""
        cells = [
            {
                "prompt": row,
                "lora": str(self.columns[column].lora) if self.columns[column].lora else None,
                "strength": self.columns[column].strength,
                "picture": str(path),
            }
            for (row, column), path in sorted(self.pictures.items())
        ]
        return {
            "grid": str(self.path),
            "prompts": [prompt.text for prompt in self.prompts],
            "columns": [column.words for column in self.columns],
            "rendered": self.rendered,
            "cells": cells,
            "empty": self.empty,
            "problems": self.problems,
        }


def make_grid(
    studio: Studio,
    columns: Sequence[Column],
    prompts: Sequence[Prompt],
    cell: int,
    target: Path,
    say: Callable[[str], None],
) -> Done:
    """Render what is missing and write the grid to `target`.

    Raises:
        RequestError, MachineError: the engine refuses one of the columns; nothing was rendered.
        TrainerError: nothing at all could be rendered.
    """
    tasks = studio.missing(columns, prompts)
    for task in tasks:
        studio.steps(task, studio.folder)
    wanted = sum(len(task.prompts) for task in tasks)
    if tasks:
        say(f"To render: {wanted} of {len(prompts) * len(columns)} pictures.")
    problems = render(studio, tasks, say)
    pictures = {
        (row, number): path
        for row, prompt in enumerate(prompts)
        for number, column in enumerate(columns)
        if (path := studio.kept(column, prompt)) is not None
    }
    texts = [(prompt.text, f"seed {prompt.seed}") for prompt in prompts]
    unread = draw_grid(grouped(columns), texts, pictures, cell, target)
    empty = [
        cell_words(columns[column], prompts[row], row)
        + (f": delete {pictures[row, column]}" if (row, column) in unread else "")
        for row in range(len(prompts))
        for column in range(len(columns))
        if (row, column) not in pictures or (row, column) in unread
    ]
    left = sum(len(task.prompts) for task in studio.missing(columns, prompts))
    return Done(target, tuple(prompts), tuple(columns), pictures, wanted - left, empty, problems)


def grouped(columns: Sequence[Column]) -> list[Group]:
    """Return the columns of each LoRA together, with the labels of its strengths."""
    return [
        Group(label, tuple("" if one.strength is None else f"{one.strength:g}" for one in same))
        for (label, _), same in groupby(columns, key=lambda column: (column.label, column.lora))
    ]


def _count(cells: int) -> str:
    return f"{cells} cell{'' if cells == 1 else 's'}"


def cell_words(column: Column, prompt: Prompt, row: int) -> str:
    """Name a cell for a person."""
    text = prompt.text if len(prompt.text) <= 40 else f"{prompt.text[:37].rstrip()}..."
    return f"prompt {row + 1} ({text}), {column.words}"
