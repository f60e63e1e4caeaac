"""The verb that looks at a dataset before anything is trained on it."""

import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from musabi.commands.options import Json, MissingCaptions, Set, job_file_settings, settings_from
from musabi.commands.show import say, say_json
from musabi.errors import ExitCode, RequestError
from musabi.settings import Settings

if TYPE_CHECKING:
    from musabi.dataset.asked import Asked
    from musabi.dataset.check import Progress, Report
    from musabi.dataset.config import DatasetConfig
    from musabi.dataset.mending import Mended
    from musabi.job.facts import BucketFacts

MOST_BUCKETS = 12
"""Lines of buckets that are printed; the sheet shows all."""


def check_verb(
    config: Annotated[
        Path | None,
        typer.Argument(
            help="The dataset TOML, or a job file; DATASET_CONFIG where not given.", show_default=False
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", help="The model to check it for; MODEL where not given.")
    ] = None,
    allow_missing_captions: MissingCaptions = False,
    trigger_word: Annotated[
        str | None, typer.Option("--trigger-word", help="A word that every caption must have.")
    ] = None,
    target_steps: Annotated[
        int | None, typer.Option("--target-steps", min=1, help="Say how many epochs come to so many steps.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write a page with all images and findings.")
    ] = None,
    fix: Annotated[
        bool, typer.Option("--fix", help="Make a copy of the dataset with everything mended that can be.")
    ] = False,
    to: Annotated[
        Path | None,
        typer.Option("--to", metavar="DIR", help="Where --fix puts the copy; beside the dataset TOML else."),
    ] = None,
    pairs: Set = None,
    as_json: Json = False,
) -> None:
    """Look at every image and caption and say what would go wrong.

    Example: musabi check dataset.toml --html sheet.html
    """
    from musabi.dataset.check import check

    if to is not None and not fix:
        raise RequestError("--to says where --fix puts its copy. Pass --fix as well.")
    if html is not None:
        from musabi.dataset.sheet import require_no_folder

        require_no_folder(html)
    settings = _settings(
        config,
        pairs,
        model=model,
        trigger_word=trigger_word,
        target_steps=target_steps,
        allow_missing_captions=allow_missing_captions or None,
    )
    parsed, asked = what_to_check(settings)
    with progress_bar("Looking at images", quiet=as_json) as progress:
        report = check(parsed, asked, progress)
    mended = _mend(parsed, report, to, quiet=as_json) if fix else None
    _tell(report, html, mended, as_json=as_json)
    if mended is None and not report.trainable:
        if as_json:
            raise typer.Exit(ExitCode.WRONG_REQUEST)
        raise RequestError(_what_to_do(report))


def _settings(config: Path | None, pairs: list[str] | None, **named: Any) -> Settings:  # noqa: ANN401 - any setting
    """Return the settings for a dataset TOML, or those of a job file, with what is named besides over them."""
    if config is None or not _is_job_file(config):
        return settings_from(pairs, dataset_config=str(config) if config else None, **named)
    settings_from(pairs)  # refuses what is no pair
    split = (pair.partition("=") for pair in pairs or [])
    given = {name.strip().lower(): value for name, _, value in split}
    return job_file_settings(config, given | {name: one for name, one in named.items() if one is not None})


def _is_job_file(path: Path) -> bool:
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return "datasets" not in values and ("dataset_config" in values or "model" in values)


def _what_to_do(report: "Report") -> str:
    """Return how many errors there are, and the commands that mend some of them."""
    errors = [finding for finding in report.findings if finding.level == "error"]
    said = f"{_count(len(errors), 'error')} would stop a training. Mend what is said above"
    if any(finding.mended_by == "musabi check --fix" for finding in errors):
        return f"{said}, or make a mended copy with: musabi check --fix"
    if any(finding.mended_by == "musabi caption" for finding in errors):
        return f"{said}. Captions are written by: musabi caption {report.config}"
    return f"{said}."


def what_to_check(settings: Settings) -> "tuple[DatasetConfig, Asked]":
    """Return the dataset as the settings' model takes it, and what its check is to look for.

    Raises:
        RequestError: there is no such model, or the dataset TOML is wrong.
    """
    from musabi.dataset.asked import Asked
    from musabi.dataset.config import read_config
    from musabi.recipes import load

    recipe = load(settings.model)
    parsed = read_config(settings.dataset_config, recipe.dataset, recipe.architecture, recipe.title)
    return parsed, Asked(
        allow_missing_captions=settings.allow_missing_captions,
        trigger_word=settings.trigger_word,
        target_steps=settings.target_steps,
        tokenizer=next(
            (found for one in recipe.tokenizers if (found := _in_hub_cache(settings, one.repo, one.folder))),
            None,
        ),
        model=recipe.title,
    )


def _in_hub_cache(settings: Settings, repo: str, folder: str) -> Path | None:
    """Return the folder of a tokenizer in the hub cache, or None where it was not fetched."""
    from musabi.hub.weights import hub_cache_of

    kept = hub_cache_of(settings.hf_home) / f"models--{repo.replace('/', '--')}"
    try:
        commit = (kept / "refs" / "main").read_text(encoding="utf-8").strip()
    except OSError:
        return None
    found = kept / "snapshots" / commit / folder
    return found if found.is_dir() else None


@contextmanager
def progress_bar(doing: str, *, quiet: bool = False) -> "Iterator[Progress | None]":
    """Yield what shows on a terminal how far a work over images is; elsewhere nothing is shown."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True, highlight=False), transient=True) as bar:
        task = bar.add_task(doing, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def check_as_text(report: "Report") -> str:
    """Return what a check found: the numbers, the buckets, then each finding on a line."""
    model = f"For {report.asked.model}: " if report.asked.model else ""
    lines = [f"{model}{report.trained_on}, {_count(report.steps_per_epoch, 'step')} an epoch"]
    if report.left_out:
        lines.append(f"Looked at, but not trained on: {report.left_out}. Why is said below.")
    if report.epochs is not None:
        steps = report.epochs * report.steps_per_epoch
        lines.append(
            f"{report.asked.target_steps} target steps: {_count(report.epochs, 'epoch')}, {steps} steps"
        )
    if report.buckets:
        lines.append("Buckets:")
    lines += [*(f"  {bucket_words(bucket)}" for bucket in report.buckets[:MOST_BUCKETS])]
    if len(report.buckets) > MOST_BUCKETS:
        lines.append(f"  and {len(report.buckets) - MOST_BUCKETS} more")
    lines += [f"{finding.level}: {finding.message}" for finding in report.findings]
    return "\n".join(lines)


def bucket_words(bucket: "BucketFacts") -> str:
    """Return a bucket with what an epoch takes from it, and whether its last batch is a small one."""
    frames = f" x {bucket.frames} frames" if bucket.frames > 1 else ""
    items = "clip" if bucket.frames > 1 else "image"
    return (
        f"{bucket.width}x{bucket.height}{frames}: {_count(bucket.images, items)}, "
        f"{_count(bucket.batches, 'batch', 'batches')} of {bucket.batch}"
    )


def mended_as_text(mended: "Mended") -> str:
    """Return what is in a copy, what was done to its files, and what was left out."""
    outcome = mended.outcome
    lines = [f"{_count(outcome.images, 'image')} in {mended.folder}, {len(outcome.changes)} of them mended:"]
    lines += [f"  {one.source.name} is {one.name}: {'; '.join(one.what)}" for one in outcome.changes]
    lines += [f"  left out: {file} {reason}" for file, reason in outcome.left_out]
    return "\n".join(lines)


def _mend(config: "DatasetConfig", report: "Report", to: Path | None, *, quiet: bool) -> "Mended":
    from musabi.dataset.mending import mend, usual_place

    with progress_bar("Copying images", quiet=quiet) as progress:
        return mend(config, report.seen, to or usual_place(config), progress)


def _tell(report: "Report", html: Path | None, mended: "Mended | None", *, as_json: bool) -> None:
    """Print the report, or its JSON; write the sheet where one is asked for."""
    from musabi.dataset.marks import marks

    values = report.as_json()
    if as_json:
        values["marks"] = {
            str(image): [{"words": mark.words, "level": mark.level} for mark in each]
            for image, each in marks(report).items()
        }
    if html is not None:
        from musabi.dataset.sheet import write_sheet

        write_sheet(report, html)
        values["html"] = str(html)
    if mended is not None:
        values["mended"] = mended.as_json()
    if as_json:
        say_json(values)
        return
    say(check_as_text(report))
    if html is not None:
        say(f"All of it with pictures: {html}")
    if mended is not None:
        say(mended_as_text(mended))
        say(f"The originals are as they were. Check the copy with: musabi check {mended.toml}")


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"


def register(app: typer.Typer) -> None:
    """Add this verb to the command line."""
    app.command("check")(check_verb)
