"""Cells about files: bring a dataset in, convert the LoRA, take the results along."""

from html import escape
from pathlib import Path

from musabi.errors import RequestError
from musabi.notebook.jupyter import download_url
from musabi.notebook.output import head, say, show
from musabi.notebook.pictures import newest
from musabi.notebook.plain import cell
from musabi.notebook.verbs import ask
from musabi.watch.checkpoints import CONVERTED_FOLDER, LoraFile, checkpoints
from musabi.watch.lineage import read_lineage
from musabi.watch.report import write_report
from musabi.watch.status_html import styled
from musabi.watch.story import file_size


@cell
def convert() -> None:
    """Convert the trained LoRA for ComfyUI. What was converted already is kept.

    Example: musabi.convert()
    """
    lora = _final()
    target = lora.parent / CONVERTED_FOLDER / lora.name
    if target.is_file() and target.stat().st_mtime >= lora.stat().st_mtime:
        say(f"Converted already: {target}")
        return
    say(f"Converted for ComfyUI: {ask('convert', str(lora))['converted']}")


@cell
def downloads() -> None:
    """Show links to what the newest training of OUTPUT_NAME made, and write its report.

    Example: musabi.downloads()
    """
    run = newest()
    lineage = read_lineage(run)
    rows = checkpoints(lineage.files, lineage.record.job["output_name"])
    page = write_report(run)
    last, earlier = rows[-1:], rows[:-1]
    sections = [
        head("Take along")
        + _links(
            [
                *((f"{row.label}, for ComfyUI", row.converted) for row in last),
                *((f"{row.label}, as trained", row.native) for row in last),
                ("Report", LoraFile(page, page.stat().st_size)),
            ]
        )
    ]
    if earlier:
        files = [
            (row.label + (", for ComfyUI" if file is row.converted else ""), file)
            for row in earlier
            for file in (row.converted, row.native)
        ]
        sections.append(f"<details><summary>Earlier checkpoints</summary>{_links(files)}</details>")
    show(styled(*sections))


def _final() -> Path:
    """Return the LoRA at the end of the newest training of OUTPUT_NAME.

    Raises:
        RequestError: there is none yet.
    """
    record = newest().load()
    lora = Path(record.job["output_dir"]) / f"{record.job['output_name']}.safetensors"
    if not lora.is_file():
        raise RequestError(f"{lora} is not there yet: {record.id} is {record.state.value}.")
    return lora


def _links(files: list[tuple[str, LoraFile | None]]) -> str:
    rows = []
    for label, file in files:
        if file is None or file.size is None:
            continue
        url = download_url(file.path)
        name = escape(file.path.name)
        link = (
            f'<a href="{escape(url)}" download>{name}</a>'
            if url
            else f"<code>{escape(str(file.path))}</code>"
        )
        rows.append(
            f'<tr><th scope="row">{escape(label)}</th><td>{link} '
            f'<span class="soft">{file_size(file.size)}</span></td></tr>'
        )
    return f"<table>{''.join(rows)}</table>"
