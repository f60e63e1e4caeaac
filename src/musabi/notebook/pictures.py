"""Cells that show pictures: the dataset with what a check found, loss curves, samples."""

from dataclasses import replace
from html import escape
from pathlib import Path

from musabi.commands.check import mended_as_text, what_to_check
from musabi.commands.resuming import newest_training
from musabi.dataset.check import check as check_dataset
from musabi.dataset.check import require_trainable
from musabi.dataset.mending import mend, usual_place
from musabi.errors import RequestError
from musabi.job.record import RunFolder
from musabi.notebook.chosen import settings
from musabi.notebook.output import head, say, show
from musabi.notebook.plain import cell
from musabi.notebook.verbs import ask
from musabi.watch.gallery import Gallery, read_gallery
from musabi.watch.lineage import Lineage, read_lineage
from musabi.watch.losses import charts, read_losses
from musabi.watch.pictures import Picture, thumbnail
from musabi.watch.report import SAMPLE_FOLDER, SAMPLE_PX
from musabi.watch.samples import Grid, grid, read_prompts, read_sample, sample_files
from musabi.watch.status_html import styled
from musabi.watch.story import count, plan_schedule
from musabi.watch.words import convergence

MOST_TILES = 24
COLOURS = {"error": "bad", "warning": "warn", "note": "soft"}


@cell
def check(fix: bool = False, allow_missing_captions: bool = False) -> None:
    """Look at every image and caption, and show them with what would go wrong.

    `fix` makes a copy of the dataset beside its TOML with everything mended that can be.

    Example: musabi.check(fix=True)
    """
    config, asked = what_to_check(settings())
    report = check_dataset(config, replace(asked, allow_missing_captions=allow_missing_captions))
    if fix:
        mended = mend(config, report.seen, usual_place(config))
        say(mended_as_text(mended))
        say(f'To train on the copy: musabi.choose(DATASET_CONFIG="{mended.toml}")')
        return
    found = "".join(
        f'<p class="notice {COLOURS[finding.level]}">{escape(finding.message)}</p>'
        for finding in report.findings
    )
    said = f"{count(report.images, 'image')}, {count(report.steps_per_epoch, 'step')} an epoch"
    good = "" if report.findings else '<p class="soft">Nothing to mend was found.</p>'
    show(
        styled(
            head("Dataset") + f"<p>{escape(said)}.</p>{found}{good}",
            _tiles(read_gallery(config.path, MOST_TILES)),
        )
    )
    require_trainable(report)


@cell
def losses() -> None:
    """Show the loss curves of the newest training of OUTPUT_NAME, and what they say.

    Example: musabi.losses()
    """
    lineage = read_lineage(newest())
    read = read_losses(lineage)
    said = "".join(
        f"<p>{escape(sentence)}</p>" for sentence in convergence(read.series, read.steps_per_epoch)
    )
    remark = f'<p class="soft">{escape(read.remark)}</p>' if read.remark else ""
    drawn = [
        head(chart.title) + f'<figure class="chart">{chart.wide}'
        f'<figcaption class="soft">{escape(chart.note)}</figcaption></figure>'
        for chart in charts(read)
    ]
    show(styled(remark + said, *drawn))


@cell
def samples(make: bool = True) -> None:
    """Show the sample pictures of the newest training of OUTPUT_NAME, a row a prompt, a column a checkpoint.

    `make`: where the training made none, render the sample prompts with its LoRA first.

    Example: musabi.samples()
    """
    run = newest()
    found, prompts = _samples(read_lineage(run))
    if not found.cells and make:
        say("The training made no samples: rendering the prompts with its LoRA. This can take some minutes.")
        ask("sample")
        found, prompts = _samples(read_lineage(run))
    if not found.cells:
        raise RequestError("There are no samples. SAMPLE_EVERY_N_EPOCHS makes them while training.")
    show(styled(head("Samples") + _sample_table(found, prompts)))


def newest() -> RunFolder:
    """Return the newest training of OUTPUT_NAME.

    Raises:
        RequestError: there is none.
    """
    name = settings().output_name
    run = newest_training(settings().space.runs, name)
    if run is None:
        raise RequestError(f'{name} was not trained yet. Run the cell musabi.train("prodigy") first.')
    return run


def _tiles(gallery: Gallery) -> str:
    tiles = "".join(
        f"<figure>{_image(tile.picture, tile.name)}<figcaption><b>{escape(tile.name)}</b> "
        f"{tile.width}x{tile.height}<br>{escape(tile.caption)}</figcaption></figure>"
        for tile in gallery.tiles
    )
    more = f'<p class="soft">And {gallery.more} more.</p>' if gallery.more > 0 else ""
    remark = f'<p class="soft">{escape(gallery.remark)}</p>' if gallery.remark else ""
    return f'<div class="tiles">{tiles}</div>{more}{remark}' if tiles else remark


def _image(picture: Picture | None, name: str) -> str:
    if picture is None:
        return '<span class="soft">can\'t be read</span>'
    return f'<img src="{picture.uri}" width="{picture.width}" height="{picture.height}" alt="{escape(name)}">'


def _samples(lineage: Lineage) -> tuple[Grid, list[str]]:
    record = lineage.record
    name = record.job["output_name"]
    prompts = read_prompts(Path(record.job["sample_prompts"]))
    folder = Path(record.job["output_dir"]) / SAMPLE_FOLDER
    files = sample_files(lineage.files, folder, name, record.lineage_started)
    per_epoch = plan_schedule(record)["steps_per_epoch"]
    return grid([read_sample(file, name, per_epoch) for file in files], len(prompts)), prompts


def _sample_table(found: Grid, prompts: list[str]) -> str:
    head = "".join(f'<th scope="col">{escape(moment.label)}</th>' for moment in found.moments)
    rows = []
    for prompt in found.prompts:
        said = prompts[prompt] if 0 <= prompt < len(prompts) else f"Prompt {prompt + 1}"
        cells = "".join(
            f"<td>{_image(thumbnail(path, SAMPLE_PX), path.name)}</td>"
            if (path := found.cells.get((prompt, moment)))
            else "<td></td>"
            for moment in found.moments
        )
        rows.append(
            f'<tr><td colspan="{len(found.moments)}" class="soft">{escape(said)}</td></tr><tr>{cells}</tr>'
        )
    return f'<div class="scroll"><table class="grid"><tr>{head}</tr>{"".join(rows)}</table></div>'
