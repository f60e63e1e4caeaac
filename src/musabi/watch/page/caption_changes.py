"""One change to all captions: planned, looked at, carried out, and taken back as one.

A plan remembers the state of every file that it would change. What is another by then is left alone and named.
"""

import re
import threading
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from musabi.dataset.trigger import has_trigger, with_trigger, without_trigger
from musabi.errors import RequestError
from musabi.watch.page.behind import kept
from musabi.watch.page.caption_files import MOST_BYTES, Caption, Newer, hash_of, put_bytes, save_caption, tidy
from musabi.watch.page.scene import Scene
from musabi.watch.page.view import Given

NAME = "caption history"
MOST_PLANS = 4
MOST_STEPS = 100
MOST_KEPT_BYTES = 32_000_000
MOST_LETTERS = 2_000
Change = Callable[[str], str]


@dataclass(frozen=True)
class Row:
    """One caption file that a plan changes: the state that it began from, its text, and its text after."""

    name: str
    file: Path
    hash: str
    before: str
    after: str


@dataclass(frozen=True)
class Plan:
    """A change to many captions, not carried out yet. `title` names it in a list of things to undo."""

    title: str
    rows: tuple[Row, ...]
    id: str = field(default_factory=lambda: uuid.uuid4().hex)


@dataclass(frozen=True)
class Undoable:
    """A file that a step changed: what it held before (None: it was not there), and the hash of what it held after."""

    name: str
    file: Path
    before: bytes | None
    after: str


@dataclass(frozen=True)
class Step:
    """One change that can be taken back."""

    title: str
    files: tuple[Undoable, ...]
    id: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def bytes(self) -> int:
        return sum(len(one.before or b"") for one in self.files)


@dataclass(frozen=True)
class Outcome:
    """What a change came to: how many files it changed, and the names of those it left alone."""

    changed: int
    left: tuple[str, ...] = ()


@dataclass
class History:
    """The plans that were shown, and the steps that can be taken back, for as long as the server runs."""

    plans: list[Plan] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def show(self, plan: Plan) -> Plan:
        """Keep a plan until it is carried out, or others were looked at."""
        with self.lock:
            self.plans = [*self.plans, plan][-MOST_PLANS:]
        return plan

    def take(self, plan_id: str) -> Plan:
        """Return a plan that was shown, once.

        Raises:
            RequestError: it is not known any more.
        """
        with self.lock:
            plan = next((one for one in self.plans if one.id == plan_id), None)
            if plan is None:
                raise RequestError("This change was carried out or replaced by another. Preview it again.")
            self.plans.remove(plan)
        return plan

    def add(self, step: Step) -> None:
        """Remember what can be taken back; the oldest is forgotten."""
        with self.lock:
            self.steps = [*self.steps, step][-MOST_STEPS:]
            while len(self.steps) > 1 and sum(one.bytes for one in self.steps) > MOST_KEPT_BYTES:
                self.steps.pop(0)

    def take_back(self, step_id: str) -> Step:
        """Return the newest step, which is forgotten, if it is the one of that id.

        Raises:
            RequestError: there is none, or another is newer.
        """
        with self.lock:
            if not self.steps:
                raise RequestError("There is nothing to take back.")
            if self.steps[-1].id != step_id:
                raise RequestError(
                    f"Something else was changed since: {self.steps[-1].title}. Undo takes that back first."
                )
            return self.steps.pop()

    def newest(self) -> dict[str, str] | None:
        """Return the step that Undo takes back, as values for JSON."""
        step = next(iter(self.steps[-1:]), None)
        return None if step is None else {"id": step.id, "title": step.title}


def history_of(scene: Scene) -> History:
    """Return the history of a scene, which stays the same one."""
    return kept(scene.memory, NAME, History)


def plan(captions: Iterable[tuple[str, Path, Caption]], title: str, change: Change) -> Plan:
    """Return what a change does to captions, each a name, its file and what that holds; no file is made.

    Raises:
        RequestError: one would get longer than any caption.
    """
    rows: dict[Path, Row] = {}
    for name, file, caption in captions:
        if caption.problem or not caption.hash:
            continue
        after = tidy(change(caption.text))
        if len(after) > MOST_BYTES:
            raise RequestError(f"{file.name} would get too long for a caption. Write less in place of it.")
        if after != caption.text:
            rows[file] = Row(name, file, caption.hash, caption.text, after)
    return Plan(title, tuple(rows.values()))


def carry_out(planned: Plan, history: History) -> Outcome:
    """Save what a plan says, as one step that can be taken back.

    Raises:
        OSError: a file can't be written; what was changed until then can be taken back.
    """
    done: list[Undoable] = []
    left = []
    try:
        for row in planned.rows:
            try:
                saved = save_caption(row.file, row.after, row.hash, sync=False)
            except (Newer, RequestError):
                left.append(row.name)
            else:
                done.append(Undoable(row.name, row.file, saved.before, saved.caption.hash))
    finally:
        if done:
            history.add(Step(planned.title, tuple(done)))
    return Outcome(len(done), tuple(left))


def take_back(step: Step, history: History) -> Outcome:
    """Let every file of a step hold what it held before it, to the byte; leave alone what was changed since.

    Raises:
        OSError: a file can't be written; it and those behind it can still be taken back.
    """
    left = []
    for number, one in enumerate(step.files):
        if hash_of(one.before) == one.after:
            continue
        try:
            put_bytes(one.file, one.before, one.after, sync=len(step.files) == 1)
        except (Newer, RequestError):
            left.append(one.name)
        except OSError:
            history.add(replace(step, files=step.files[number:]))
            raise
    return Outcome(len(step.files) - len(left), tuple(left))


def change_of(given: Given) -> tuple[str, Change]:
    """Return the title of the change that a page asks for, and what it does to a caption.

    Raises:
        RequestError: it is no change that there is, or a text is missing.
    """
    make = CHANGES.get(str(given.get("kind")))
    if make is None:
        raise RequestError("This server does not know that change. Load the page again.")
    return make(given)


def _replace(given: Given) -> tuple[str, Change]:
    find, by = _text(given, "find"), _text(given, "by")
    if not find:
        raise RequestError("Write the text to find.")
    pattern = re.compile(re.escape(find), 0 if given.get("case") else re.IGNORECASE)
    return f'replace "{_short(find)}" by "{_short(by)}"', lambda text: pattern.sub(lambda _: by, text)


def _add_trigger(given: Given) -> tuple[str, Change]:
    word = _word(given)
    return (
        f'add the trigger word "{_short(word)}"',
        lambda text: text if has_trigger(text, word) else with_trigger(text, word),
    )


def _remove_trigger(given: Given) -> tuple[str, Change]:
    word = _word(given)
    return f'remove the trigger word "{_short(word)}"', lambda text: without_trigger(text, word)


CHANGES: Mapping[str, Callable[[Given], tuple[str, Change]]] = {
    "replace": _replace,
    "add_trigger": _add_trigger,
    "remove_trigger": _remove_trigger,
}


def _word(given: Given) -> str:
    word = tidy(_text(given, "word")).strip(", ")
    if not word:
        raise RequestError("Write the trigger word.")
    return word


def _text(given: Given, name: str) -> str:
    text = str(given.get(name) or "")
    if len(text) > MOST_LETTERS:
        raise RequestError("This text is too long.")
    return text


def _short(text: str) -> str:
    return text if len(text) <= 24 else f"{text[:23]}\N{HORIZONTAL ELLIPSIS}"
