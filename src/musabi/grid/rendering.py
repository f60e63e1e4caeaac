"""Renders the pictures of a grid that are not there yet: a process a column, whatever the number of prompts.

Every picture is kept under a name of its own, so a call that was stopped goes on where it was.
"""

import re
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from musabi.dataset.prompts import prompt_line
from musabi.errors import MachineError, TrainerError
from musabi.grid.cells import Column, picture_name
from musabi.job.engine import Engine
from musabi.job.events import Event
from musabi.job.execute import execute
from musabi.job.facts import Facts
from musabi.job.harvest import PICTURES, is_whole
from musabi.job.model import Job
from musabi.job.plan import Step
from musabi.job.prompt import Prompt
from musabi.whole import write_text

FAILURES_IN_A_ROW = 2


@dataclass(frozen=True)
class Studio:
    """What renders, and the folder that the pictures are kept in; `setup` is cells.setup_of's."""

    engine: Engine
    job: Job
    facts: Facts
    folder: Path
    setup: str

    def kept(self, column: Column, prompt: Prompt) -> Path | None:
        """Return the whole picture of a cell, or None."""
        name = picture_name(column, prompt, self.setup)
        files = (self.folder / f"{name}{ending}" for ending in PICTURES)
        return next((file for file in files if file.is_file() and is_whole(file)), None)

    def missing(self, columns: Sequence[Column], prompts: Sequence[Prompt]) -> "list[Task]":
        """Return what has to be rendered, a task a column; cells that show the same are rendered once."""
        found: dict[str, tuple[Column, Prompt]] = {}
        for column in columns:
            for prompt in prompts:
                if self.kept(column, prompt) is None:
                    found.setdefault(picture_name(column, prompt, self.setup), (column, prompt))
        tasks: dict[Column, list[Prompt]] = {}
        for column, prompt in found.values():
            tasks.setdefault(column, []).append(prompt)
        return [Task(column, tuple(wanted)) for column, wanted in tasks.items()]

    def steps(self, task: "Task", scratch: Path) -> tuple[Step, ...]:
        """Return the steps of a task; its prompts are read from a file in `scratch`.

        Raises:
            RequestError, MachineError: the engine refuses.
        """
        job = self.job.model_copy(update={"sample_prompts": scratch / "prompts.txt"})
        facts = replace(self.facts, prompts=task.prompts)
        strength = 1.0 if task.column.strength is None else task.column.strength
        return self.engine.sample_steps(job, facts, task.column.lora, scratch / "pictures", strength)


@dataclass(frozen=True)
class Task:
    """Prompts to render with one LoRA at one strength."""

    column: Column
    prompts: tuple[Prompt, ...]


@dataclass
class Progress:
    """Counts pictures and says so. `say` takes a line for a person."""

    total: int
    say: Callable[[str], None]
    done: int = 0
    started: float = field(default_factory=time.monotonic)

    def advance(self, column: Column, prompt: Prompt) -> None:
        """Count a picture as made."""
        self.done += 1
        left = (time.monotonic() - self.started) / self.done * (self.total - self.done)
        self.say(progress_line(self.done, self.total, column, prompt, left))


def progress_line(done: int, total: int, column: Column, prompt: Prompt, left: float) -> str:
    """Return a line such as: [3/12] Epoch 2, strength 0.8: a cat on a roof (about 0:40 left)."""
    text = prompt.text if len(prompt.text) <= 40 else f"{prompt.text[:37].rstrip()}..."
    minutes, seconds = divmod(round(left), 60)
    rest = f" (about {minutes}:{seconds:02d} left)" if done < total else ""
    return f"[{done}/{total}] {column.words}: {text}{rest}"


def render(studio: Studio, tasks: Sequence[Task], say: Callable[[str], None]) -> list[str]:
    """Render all tasks; return what went wrong, a sentence each. After two failures in a row the rest is left.

    Raises:
        MachineError, TrainerError: nothing at all could be rendered; the engine's own words.
    """
    progress = Progress(sum(len(task.prompts) for task in tasks), say)
    problems: list[str] = []
    failures: list[MachineError | TrainerError] = []
    for number, task in enumerate(tasks):
        before = progress.done
        try:
            _render(studio, task, progress)
        except (MachineError, TrainerError) as problem:
            problems.append(f"{task.column.words}: {problem}")
            failures = [*failures, problem] if progress.done == before else [problem]
        else:
            failures = []
        if len(failures) == FAILURES_IN_A_ROW:
            left = len(tasks) - number - 1
            problems += [f"{left} more columns were not tried."] if left else []
            break
    if failures and not progress.done:
        raise failures[-1]
    return problems


def _render(studio: Studio, task: Task, progress: Progress) -> None:
    """Render a task. Where a sampler passed over one of several prompts, nobody can tell which picture is whose,
    so that each of them is rendered by itself."""
    if _attempt(studio, task, progress):
        return
    for prompt in task.prompts:
        _attempt(studio, Task(task.column, (prompt,)), progress)


def _attempt(studio: Studio, task: Task, progress: Progress) -> bool:
    """Render a task and keep its pictures; tell whether every picture is known to be that of its prompt."""
    studio.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".rendering-", dir=studio.folder) as made:
        scratch = Path(made)
        write_text(scratch / "prompts.txt", "".join(f"{prompt_line(prompt)}\n" for prompt in task.prompts))
        steps = studio.steps(task, scratch)
        expected = len(task.prompts) if len(steps) == 1 else 1
        return all(_run(studio, task, step, expected, progress) for step in steps)


def _run(studio: Studio, task: Task, step: Step, expected: int, progress: Progress) -> bool:
    """Run one step that should make `expected` pictures, and keep them; tell whether each could be told apart.

    An engine that names its pictures itself has each kept as it comes; others are numbered when all are there.
    """
    found: dict[int, Path] = {}

    def take(event: Event) -> None:
        number = _number(event, studio.job.output_name)
        if number is None or number in found or event.file is None:
            return
        found[number] = Path(event.file)
        if step.pictures is None:
            _keep(studio, task, number, found[number], progress)

    execute(step, studio.engine, take)
    if step.pictures is None:
        return True
    if len(found) < expected > 1:
        return False
    for number, file in sorted(found.items()):
        _keep(studio, task, number, file, progress)
    return True


def _keep(studio: Studio, task: Task, number: int, file: Path, progress: Progress) -> None:
    prompt = task.prompts[number]
    file.replace(studio.folder / f"{picture_name(task.column, prompt, studio.setup)}{file.suffix}")
    progress.advance(task.column, prompt)


def _number(event: Event, output_name: str) -> int | None:
    """Return the number of the prompt that a finished picture is of, from its name."""
    if event.kind != "sample" or event.file is None:
        return None
    path = Path(event.file)
    match = re.match(rf"{re.escape(output_name)}_(\d{{2,}})_\d{{14}}", path.name)
    return int(match[1]) if match and path.suffix in PICTURES else None
