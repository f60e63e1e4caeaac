"""What a run gives away: its LoRA files, samples, a model card and its settings, as files with their names."""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from musabi.children import is_secret_name, scrub
from musabi.errors import RequestError
from musabi.hub.parcel import Piece, piece
from musabi.job.record import RunRecord
from musabi.recipes import Recipe, load
from musabi.watch import story
from musabi.watch.captions import common_beginning, read_captions
from musabi.watch.card import Card, CardFile, card_text
from musabi.watch.checkpoints import CONVERTED_FOLDER, Checkpoint, checkpoints, to_take
from musabi.watch.lineage import Lineage
from musabi.watch.sample_sheet import draw_sheet
from musabi.watch.samples import Grid, grid, read_prompts, read_sample, sample_files
from musabi.whole import write_json, write_text

SHEET = "sample-grid.png"
SAMPLES = "samples"
SETTINGS = "training.json"
DATASET = "dataset.toml"
CARD = "README.md"
PATH_IN_WORD = re.compile(r"(?<![^=])/.*")
MACHINE_ONLY = frozenset({"output_dir", "logging_dir", "dataset_config", "sample_prompts"})
"""Fields of a job that mean nothing elsewhere."""


@dataclass(frozen=True)
class Wishes:
    """How a run is published. `repo`: the repo on the hub, for the card; `hidden`: values never to be written."""

    repo: str | None = None
    trigger: str | None = None
    all_checkpoints: bool = False
    hidden: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Pictures:
    """The samples: the grid `shown` on the sheet, those that go along, each with its prompt, and the newest."""

    shown: Grid
    chosen: tuple[tuple[str, Path, str | None], ...]
    newest: frozenset[Path]


def pack(lineage: Lineage, wishes: Wishes, folder: Path) -> list[Piece]:
    """Return the files of a run to publish; those that are made for it are written into `folder`.

    Raises:
        RequestError: the run left no LoRA file.
        OSError: a file can't be read.
    """
    record = lineage.record
    rows = _rows(lineage, wishes.all_checkpoints)
    pictures = _pictures(lineage, wishes.all_checkpoints)
    files = [(name, path) for name, path, _ in _lora_files(rows)]
    files += [(name, path) for name, path, _ in pictures.chosen]
    sheet = draw_sheet(pictures.shown)
    if sheet is not None:
        sheet.save(folder / SHEET, "PNG", optimize=True)
        files.append((SHEET, folder / SHEET))
    write_json(folder / SETTINGS, settings_values(record, wishes.hidden))
    files.append((SETTINGS, folder / SETTINGS))
    dataset = dataset_text(Path(record.job["dataset_config"]), wishes.hidden)
    if dataset is not None:
        write_text(folder / DATASET, dataset)
        files.append((DATASET, folder / DATASET))
    write_text(folder / CARD, card_text(_card(lineage, rows, pictures, wishes, sheet is not None)))
    files.append((CARD, folder / CARD))
    return [piece(name, path) for name, path in files]


def settings_values(record: RunRecord, hidden: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return what a person needs to train this again: no paths of the machine, no values of secret options.

    The `hidden` values are taken out of what people wrote; the words of the record itself stay.
    """
    job = {name: _elsewhere(name, value) for name, value in record.job.items() if name not in MACHINE_ONLY}
    return {
        "run": record.id,
        "state": record.state.value,
        "job": _hidden(job, hidden),
        "schedule": record.plan.get("schedule"),
        "choices": _hidden(record.plan.get("choices") or [], hidden),
        "versions": _hidden(record.versions, ()),
        "dataset_fingerprint": record.dataset_fingerprint,
    }


def dataset_text(path: Path, hidden: tuple[str, ...] = ()) -> str | None:
    """Return the dataset TOML with folder names in place of paths, or None where it can't be read.

    The `hidden` values are taken out of its values.
    """
    import tomlkit

    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        return None
    tables = [values.get("general", {}), *values.get("datasets", [])]
    for table in tables:
        for name in [name for name in table if name.endswith(("_directory", "_file"))]:
            table[name] = Path(str(table[name])).name
    return tomlkit.dumps(_hidden(values, hidden))


def _rows(lineage: Lineage, every: bool) -> list[Checkpoint]:
    rows = checkpoints(lineage.files, lineage.record.job["output_name"])
    newest = to_take(rows)
    if newest is None:
        raise RequestError(
            f"{lineage.record.id} left no LoRA file that is still there, so there is nothing to publish."
        )
    return rows if every else [newest[0]]


def _lora_files(rows: Sequence[Checkpoint]) -> list[tuple[str, Path, CardFile]]:
    found = []
    for row in rows:
        for file, folder in ((row.native, ""), (row.converted, f"{CONVERTED_FOLDER}/")):
            if file is not None and file.size is not None:
                name = f"{folder}{row.stem}.safetensors"
                found.append((name, file.path, CardFile(name, file.size, row.label, bool(folder))))
    return found


def _pictures(lineage: Lineage, every: bool) -> _Pictures:
    record = lineage.record
    name = record.job["output_name"]
    per_epoch = story.plan_schedule(record)["steps_per_epoch"]
    folder = Path(record.job["output_dir"]) / "sample"
    files = sample_files(lineage.files, folder, name, record.lineage_started)
    prompts = read_prompts(Path(record.job["sample_prompts"]))
    samples = [read_sample(file, name, per_epoch) for file in files]
    found = grid(samples, len(prompts), most_moments=max(2, len(samples)))
    cells = sorted(found.cells.items(), key=lambda cell: (cell[0][1], cell[0][0]))
    chosen = [cell for cell in cells if every or cell[0][1] == found.moments[-1]]
    return _Pictures(
        grid(samples, len(prompts)),
        tuple(
            (f"{SAMPLES}/{path.name}", path, prompts[prompt] if prompt < len(prompts) else None)
            for (prompt, _), path in chosen
        ),
        frozenset(path for (_, moment), path in cells if moment == found.moments[-1]),
    )


def _card(
    lineage: Lineage, rows: Sequence[Checkpoint], pictures: _Pictures, wishes: Wishes, sheet: bool
) -> Card:
    """Return the card, with secrets taken out of what people wrote.

    Here and not in the page: escaped for Markdown, a token is another text and still the same to a reader.
    """
    record = lineage.record
    recipe = load(str(record.job.get("model", "z-image")))
    captions = read_captions(Path(record.job["dataset_config"]))
    images = len(captions) if captions is not None else None
    ended = record.ended or record.created
    taken = sum(story.seconds_taken(each, ended) for _, each in lineage.records)
    last = [
        (name, _hidden(prompt, wishes.hidden))
        for name, path, prompt in pictures.chosen
        if path in pictures.newest
    ]
    facts = story.job_facts(record, taken, _resolution(record.job), images)
    return Card(
        name=_hidden(record.job["output_name"], wishes.hidden),
        model=recipe.title,
        headline=_headline(record, rows, taken),
        files=tuple(file for _, _, file in _lora_files(rows)),
        repo=wishes.repo,
        base_model=_base_model(recipe, record.job),
        licence=recipe.licence,
        trigger=_hidden(wishes.trigger, wishes.hidden)
        or common_beginning(_hidden(captions or [], wishes.hidden)),
        images=images,
        remark=story.weights_remark(record.versions),
        sheet=SHEET if sheet else None,
        samples=tuple(last),
        settings=tuple((name, _hidden(value, wishes.hidden)) for name, value in facts),
        versions=tuple(sorted(record.versions.items())),
    )


def _headline(record: RunRecord, rows: Sequence[Checkpoint], taken: float) -> str:
    """Return the result in a sentence that stays the same however often the run is published."""
    steps = story.plan_schedule(record)["steps"]
    if record.state.value == "done":
        return story.headline(record, steps, taken)
    return f"The training did not go to its end; this is its checkpoint: {rows[-1].label}."


def _base_model(recipe: Recipe, job: Mapping[str, Any]) -> str | None:
    """Return the repo that the DiT comes from, where its file bears the name that it has there."""
    dit = recipe.weights["dit"]
    used = job.get("weights", {}).get("dit", dit.first)
    return dit.repo if Path(str(used)).name == dit.first else None


def _resolution(job: Mapping[str, Any]) -> str:
    from musabi.watch.gallery import read_gallery

    return read_gallery(Path(job["dataset_config"]), most=0).resolution


def _elsewhere(name: str, value: Any) -> Any:  # noqa: ANN401 - a JSON value
    """Return a job's value without paths of the machine and without values of secret options."""
    if name == "weights":
        return {role: Path(str(path)).name for role, path in value.items()}
    if not isinstance(value, list | tuple):
        return value
    kept: list[Any] = []
    secret = False
    for word in map(str, value):
        option, equals, _ = word.partition("=")
        shown = PATH_IN_WORD.sub(lambda match: Path(match[0]).name, word)
        kept.append("..." if secret else f"{option}=..." if equals and is_secret_name(option) else shown)
        secret = not equals and word.startswith("-") and is_secret_name(option)
    return kept


def _hidden(value: Any, hidden: tuple[str, ...]) -> Any:  # noqa: ANN401 - a JSON value
    """Return the same value with secrets taken out of every text in it; the names of its parts stay."""
    if isinstance(value, str):
        return scrub(value, hidden)
    if isinstance(value, Mapping):
        return {name: _hidden(part, hidden) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_hidden(part, hidden) for part in value)
    return value
