"""What the page can do with a run's checkpoints: convert, delete, make a grid, publish. All of it are verbs."""

import math
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from musabi.errors import RequestError
from musabi.hub.destination import FolderPlace, parse_destination
from musabi.watch.page.inside import inside, lies_in
from musabi.watch.page.run_files import GRID_FOLDER, Row, checkpoint_of, rows_of
from musabi.watch.page.run_samples import is_ours
from musabi.watch.page.run_shown import Shown, shown_run
from musabi.watch.page.scene import Scene
from musabi.watch.page.train_form import MAY_HOLD_A_KEY
from musabi.watch.page.train_jobs import of_run
from musabi.watch.page.train_now import VERBS as RUNNING
from musabi.watch.page.view import Given, Verb

ALL, SOME = "all", "some"
A_FEW = 5
STRENGTHS = re.compile(r"-?\d{1,2}(\.\d{1,2})?(,-?\d{1,2}(\.\d{1,2})?){0,7}")
LONGEST = 300


def convert_words(scene: Scene, given: Given) -> list[str]:
    """Return the arguments that convert a checkpoint for ComfyUI."""
    row = _row(scene, given)
    if row.native is None:
        raise RequestError("The file as it was trained is gone, so there is nothing to convert.")
    return ["convert", str(row.native.path)]


def delete_words(scene: Scene, given: Given) -> list[str]:
    """Return the arguments that move a checkpoint, both forms of it, into the bin."""
    row = _row(scene, given)
    file = row.native or row.converted
    if file is None or not is_ours(scene, file.path):
        raise RequestError("The checkpoint is gone already. Load the page again.")
    return ["lora", "delete", str(file.path)]


def grid_words(scene: Scene, given: Given) -> list[str]:
    """Return the arguments that make a grid of all, of a few or of one checkpoint, with the run's own settings.

    Raises:
        RequestError: the run has no such checkpoint, or the strengths can't be right.
    """
    shown = _shown(scene, given)
    which, strengths = _text(given, "which") or ALL, _text(given, "strengths").replace(" ", "") or "1.0"
    if not STRENGTHS.fullmatch(strengths):
        raise RequestError("Write the strengths as numbers with commas, such as 0.6,0.8,1.0.")
    rows = [row for row in reversed(rows_of(scene, shown)) if row.native]
    if which not in (ALL, SOME):
        rows = [checkpoint_of(scene, shown, which)]
    elif which == SOME:
        rows = spread(rows, A_FEW)
    files = [str(row.native.path) for row in rows if row.native]
    if not files:
        raise RequestError("The run has no checkpoint as it was trained to make a grid of.")
    name = shown.name if which == ALL else f"{shown.name}-few" if which == SOME else f"{which}-strengths"
    target = shown.output / GRID_FOLDER / f"{name}.png"
    more = ["--with-base"] if given.get("base") is True else []
    own = settings_words(of_run(shown.record.job, scene.environ))
    return ["grid", *files, f"--strengths={strengths}", f"--output={target}", *more, *own]


def spread(rows: Sequence[Row], most: int) -> list[Row]:
    """Return at most `most` (2 or more) rows, evenly spread, the first and the last among them."""
    if len(rows) <= most:
        return list(rows)
    return [rows[round(i * (len(rows) - 1) / (most - 1))] for i in range(most)]


def settings_words(values: Mapping[str, Any]) -> list[str]:
    """Return a run's settings as arguments, each in one with its name."""
    return [
        f"--set={name}={_as_text(value)}"
        for name, value in values.items()
        if name not in MAY_HOLD_A_KEY and value is not None and _as_text(value).strip()
    ]


def publish_words(scene: Scene, given: Given) -> list[str]:
    """Return the arguments that publish the run's results.

    Raises:
        RequestError: the place can't be right; a folder must lie in the workspace.
    """
    shown = _shown(scene, given)
    to, trigger = _text(given, "to"), _text(given, "trigger")
    if not to and not scene.settings.publish_to:
        raise RequestError("Where to? Write hf:USER/REPO, s3://BUCKET/PREFIX or the name of a folder.")
    words = ["publish", shown.id]
    if to:
        words.append(f"--to={_place(scene, to, shown)}")
    if trigger:
        words.append(f"--trigger={trigger}")
    if given.get("public") is True:
        words.append("--public")
    return [*words, "--all-checkpoints"] if given.get("everything") is True else words


def _place(scene: Scene, to: str, shown: Shown) -> str:
    fill = {"name": shown.name, "run": shown.id}
    if not isinstance(parse_destination(to, fill), FolderPlace):
        return to
    if Path(to).is_absolute():
        if not lies_in(Path(to), scene.space.root):
            raise RequestError(f"{to} lies outside of the workspace {scene.space.root}. Name a folder in it.")
        return to
    return str(inside(scene.space.root, to))


def _shown(scene: Scene, given: Given) -> Shown:
    run = given.get("run")
    if not isinstance(run, str) or not run:
        raise RequestError("There is no such run any more. Load the page again.")
    return shown_run(scene, run)


def _row(scene: Scene, given: Given) -> Row:
    return checkpoint_of(scene, _shown(scene, given), _text(given, "stem"))


def _text(given: Given, name: str) -> str:
    value = given.get(name, "")
    if not isinstance(value, str) or len(value) > LONGEST or not value.isprintable():
        raise RequestError(f"What stands in the field {name} is too long or holds odd letters.")
    return value.strip()


def _as_text(value: object) -> str:
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, tuple | list):
        return shlex.join(map(str, value))
    return repr(value) if isinstance(value, float) and math.isfinite(value) else str(value)


VERBS: dict[str, Verb] = {
    **RUNNING,
    "run-convert": Verb("Convert a checkpoint for ComfyUI", convert_words, done="Converted."),
    "run-delete": Verb(
        "Delete a checkpoint", delete_words, done="Deleted. It lies in the folder bin beside it."
    ),
    "run-grid": Verb("Make a grid", grid_words, long=True, done="The grid is drawn."),
    "run-publish": Verb("Publish the results", publish_words, long=True, done="Published."),
}
