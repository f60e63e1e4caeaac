"""Runs the worker over a plan: captions come back one by one, and are there whatever ends the run."""

import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from musabi import children
from musabi.captioning.failures import failure
from musabi.captioning.harvest import Captioned, Harvest, Say
from musabi.captioning.interpreter import WORKER
from musabi.captioning.models import CaptioningModel
from musabi.captioning.plan import Plan, Uncaptioned, first_a_few
from musabi.captioning.text import Wording
from musabi.captioning.weights import ModelFiles
from musabi.captioning.writing import REPLACED, Writer
from musabi.errors import MachineError

PREVIEW = 3
Agree = Callable[[Sequence[Captioned], int], bool]
"""Shown the first captions and how many other files there are; says whether to go on."""
Heed = Callable[[int], None]
"""Called about five times a second with how many captions are written. What it raises ends the work."""


def pay_no_heed(_written: int) -> None:
    """Let the work go on to its end."""


@dataclass(frozen=True)
class Task:
    """How captions are made: by which model, in which Python, on which device ("cuda" or "cpu").

    `prompt` replaces the row's, for pictures and videos alike; "{trigger}" in it stands for the trigger word.
    """

    model: CaptioningModel
    files: ModelFiles
    python: Path
    environment: Mapping[str, str]
    device: str
    wording: Wording = field(default_factory=Wording)
    prompt: str | None = None
    max_new_tokens: int | None = None
    batch: int | None = None
    seed: int = 42


@dataclass
class Outcome:
    """What came of a plan. `agreed` is False where the preview was turned down: nothing was written then."""

    plan: Plan
    agreed: bool = True
    preview: list[Captioned] = field(default_factory=list)
    written: list[Captioned] = field(default_factory=list)
    failed: list[tuple[Path, str]] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Return it for a program."""
        return {
            "written": [_as_json(one) for one in self.written],
            "preview": [_as_json(one) for one in self.preview],
            "failed": [{"file": str(file), "why": why} for file, why in self.failed],
            "passed_over": [{"file": str(file), "why": why} for file, why in self.plan.passed_over],
            "had_a_caption": self.plan.captioned,
            "agreed": self.agreed,
        }


def caption_files(
    plan: Plan,
    task: Task,
    agree: Agree,
    say: Say,
    *,
    overwrite: bool = False,
    preview_only: bool = False,
    heed: Heed = pay_no_heed,
) -> Outcome:
    """Caption the files of a plan. The first few are shown to `agree` before anything is written.

    With `preview_only` no more than those are made, and none is written. Each caption file appears whole and
    at once; what is there when the run is stopped or killed stays, and the next run does the rest.

    Raises:
        MachineError: there is no memory, no GPU, no room or no permission.
        RequestError: the model can't be loaded.
        TrainerError: the captioner broke for another reason.
    """
    if not preview_only:
        _require_writable(plan, overwrite)
    files = first_a_few(plan.files, PREVIEW)
    files = files[:PREVIEW] if preview_only else files
    harvest = Harvest(files, task.wording, Writer(overwrite), say, task.model.title)
    preview = _Preview(harvest, len(files), agree, preview_only)
    try:
        ended = _run_worker(task, files, harvest, preview, heed)
    except KeyboardInterrupt:
        say(_stopped(harvest, len(files)))
        raise
    if harvest.broken is not None:
        raise MachineError(_cannot_write(harvest))
    if ended.ended is None and ended.code != 0:
        kind, message = harvest.last_words
        last = ended.tail[-1] if ended.tail else "it said nothing"
        raise failure(kind, message or last, ended.code, _names(task))
    return Outcome(plan, preview.agreed, preview.captions, harvest.written, harvest.failed)


def _run_worker(
    task: Task, files: Sequence[Uncaptioned], harvest: Harvest, preview: "_Preview", heed: Heed
) -> children.Outcome:
    def watch(_pid: int) -> str | None:
        heed(len(harvest.written))
        return preview.decide()

    handle, name = tempfile.mkstemp(prefix="musabi-caption-", suffix=".json")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as request:
            json.dump(request_of(task, files), request)
        ended = children.run(
            (str(task.python), "-I", str(WORKER), name),
            task.environment,
            log=harvest.take,
            watch=watch,
        )
    finally:
        Path(name).unlink(missing_ok=True)
    if ended.done:
        harvest.finish()
    if ended.ended is None:
        preview.decide(over=True)
    return ended


class _Preview:
    """Holds captions back until somebody agreed to the first few. Lives in the main thread, where one may ask."""

    def __init__(self, harvest: Harvest, files: int, agree: Agree, only: bool) -> None:
        self._harvest = harvest
        self._files = files
        self._agree = agree
        self._only = only
        self.captions: list[Captioned] = []
        self.agreed = True

    def decide(self, *, over: bool = False) -> str | None:
        """Ask once there is enough to show, or all is `over`; return a reason to end the worker."""
        harvest = self._harvest
        if harvest.broken is not None:
            return "a caption can't be written"
        whole = len(harvest.made) >= min(PREVIEW, self._files) or harvest.settled >= self._files
        if not (whole or over) or not harvest.held or not self.agreed:
            return None
        self.captions = harvest.made[:PREVIEW]
        if self._only or not self.captions:
            return None
        self.agreed = self._agree(self.captions, self._files - len(self.captions))
        if not self.agreed:
            return "the preview was turned down"
        harvest.release()
        return None


def request_of(task: Task, files: Sequence[Uncaptioned]) -> dict[str, Any]:
    """Return the worker's request as a JSON value."""
    row = task.model
    prompts = {kind: task.prompt or prompt for kind, prompt in row.prompts.items()}
    return {
        "family": row.family,
        "model": str(task.files.model),
        "processor": str(task.files.processor),
        "device": task.device,
        "system": row.system,
        "prompts": {kind: text.replace("{trigger}", task.wording.trigger) for kind, text in prompts.items()},
        "generate": dict(row.generate),
        "max_new_tokens": task.max_new_tokens or row.max_new_tokens,
        "batch": task.batch or row.batch,
        "side": row.side,
        "frames": row.frames,
        "frame_side": row.frame_side,
        "seed": task.seed,
        "files": [{"file": str(item.file), "kind": item.kind} for item in files],
    }


def _require_writable(plan: Plan, overwrite: bool) -> None:
    folders = {item.caption_file.parent for item in plan.files}
    if overwrite:
        folders |= {_existing(folder.parent / REPLACED) for folder in folders}
    for folder in sorted(folders):
        if not os.access(folder, os.W_OK | os.X_OK):
            raise MachineError(
                f"Captions can't be written to {folder}: it is read-only here. Copy the pictures to a folder "
                "of the workspace, or change its permissions."
            )


def _existing(folder: Path) -> Path:
    return folder if folder.exists() else folder.parent


def _stopped(harvest: Harvest, files: int) -> str:
    if not harvest.written:
        return "Nothing was written."
    return f"{len(harvest.written)} of {files} captions are written. Start again for the rest."


def _cannot_write(harvest: Harvest) -> str:
    problem = harvest.broken
    why = problem.strerror if problem is not None and problem.strerror else str(problem)
    return (
        f"A caption can't be written: {why}. {len(harvest.written)} captions are written; mend that and start "
        "again for the rest."
    )


def _names(task: Task) -> dict[str, str]:
    row = task.model
    return {
        "title": row.title,
        "repo": row.repo,
        "place": str(task.files.model),
        "vram": f"{row.vram_gib:g}",
    }


def _as_json(one: Captioned) -> dict[str, str]:
    return {"file": str(one.item.file), "caption_file": str(one.item.caption_file), "caption": one.text}
