"""The notebook, executed top to bottom by a real kernel on the embedded engine and a small model."""

import json
import os
import signal
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
from jupyter_client.manager import start_new_kernel
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from musabi.job.lora_file import read_lora

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "notebooks" / "00_musubi_tuner_runpod.ipynb"
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("notebook")]
SECONDS = 120
LONG = {"MAX_TRAIN_EPOCHS": "20000", "SAVE_EVERY_N_EPOCHS": "5000"}


def client(workspace: Path, *sources: str) -> NotebookClient:
    """Return a client of the notebook as it is committed, or of cells with these sources."""
    if sources:
        made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    else:
        made = nbformat.read(NOTEBOOK, as_version=4)
    folder = {"metadata": {"path": str(workspace / "notebooks")}}
    return NotebookClient(made, timeout=SECONDS, kernel_name="python3", resources=folder)


def cells(workspace: Path, *sources: str) -> list[str]:
    """Run cells after `from musabi import notebook as musabi`; return what each showed."""
    made = client(workspace, "from musabi import notebook as musabi", *sources)
    made.execute()
    return [shown(cell) for cell in made.nb.cells[1:]]


def refused(workspace: Path, source: str) -> str:
    """Run a cell that must end with a message; return the message, which is all that it shows."""
    made = client(workspace, "from musabi import notebook as musabi", source)
    with pytest.raises(CellExecutionError):
        made.execute()
    (error,) = [output for output in made.nb.cells[1].outputs if output.output_type == "error"]
    assert error.ename == "CellError"
    return "\n".join(error.traceback)


def shown(cell: Any) -> str:
    """Return what a cell's outputs hold."""
    parts = []
    for output in cell.outputs:
        assert output.output_type != "error", output.traceback
        parts.append(output.get("text") or output.data.get("text/html") or "")
    return "\n".join(parts)


def wait_for(condition: Callable[[], Any], seconds: float = 240) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)
    return value


def test_the_committed_notebook_holds_no_outputs_and_nothing_of_the_machine_it_was_made_on() -> None:
    text = NOTEBOOK.read_text(encoding="utf-8")
    notebook = json.loads(text)
    nbformat.validate(nbformat.from_dict(notebook))
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    assert all(len(cell["source"]) <= 9 for cell in code), "a cell is thin: what it does is in the package"
    assert [cell["id"] for cell in notebook["cells"]] == [
        f"musabi-{number:02d}" for number in range(1, len(notebook["cells"]) + 1)
    ]
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    assert json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n" == text
    calls = [cell["source"][-1] for cell in code if len(cell["source"]) <= 3]
    assert calls[-1] == "musabi.stop_pod()", "Run All never stops the pod"


def test_every_cell_runs_and_a_second_time_nothing_is_done_twice(
    workspace: Path, pod_environment: dict[str, str]
) -> None:
    first = client(workspace)
    first.execute()
    texts = {
        cell.source.split("musabi.")[-1]: shown(cell) for cell in first.nb.cells if cell.cell_type == "code"
    }
    assert "Traceback" not in "".join(texts.values())
    assert texts["check()"].count("<img") == 5 and "3 steps an epoch" in texts["check()"]
    assert "6 (3 steps an epoch x 2 epochs)" in texts["choose(\n" + texts_tail(texts)]
    assert "step 6 of 6" in texts['train("prodigy")']
    assert texts["losses()"].count("<svg") == 3 and texts["samples()"].count("<img") == 1
    assert "Nothing was stopped" in texts["stop_pod()"]
    output = workspace / "output"
    assert read_lora(output / "demo.safetensors").keys == "native"
    assert read_lora(output / "comfyui" / "demo.safetensors").keys == "comfyui"
    assert (output / "demo-report.html").is_file()

    made = {path: path.stat().st_mtime_ns for path in output.rglob("*.*") if path.suffix != ".html"}
    trained = len(list(workspace.glob("runs/*/record.json")))
    second = client(workspace)
    second.execute()
    again = {
        cell.source.split("musabi.")[-1]: shown(cell) for cell in second.nb.cells if cell.cell_type == "code"
    }
    assert "done already" in again['train("prodigy")'] and "Converted already" in again["convert()"]
    assert made == {path: path.stat().st_mtime_ns for path in output.rglob("*.*") if path.suffix != ".html"}
    assert len(list(workspace.glob("runs/*/record.json"))) == trained + 1, "prepare looked, and made nothing"


def texts_tail(texts: dict[str, str]) -> str:
    """Return the rest of the settings cell's source."""
    return next(source for source in texts if source.startswith("choose(")).removeprefix("choose(\n")


TRAIN = "from musabi import notebook as musabi\nmusabi.train('prodigy')"


class Cell:
    """A cell that runs in a kernel of its own, to be interrupted while it runs."""

    def __init__(self, workspace: Path, source: str) -> None:
        self.manager, self.client = start_new_kernel(cwd=str(workspace / "notebooks"))
        self.request = self.client.execute(source)
        self.said = ""

    def wait_for(self, text: str, seconds: float = 120) -> None:
        """Read the cell's outputs until they hold `text`, or until the cell has ended."""
        deadline = time.monotonic() + seconds
        while text not in self.said:
            assert time.monotonic() < deadline, self.said
            message = self.client.get_iopub_msg(timeout=seconds)
            if message["parent_header"].get("msg_id") != self.request:
                continue
            content = message["content"]
            self.said += content.get("text", "") + "".join(content.get("traceback", ()))
            self.said += str(content.get("data", {}).get("text/html", ""))

    def end(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


def test_an_interrupted_cell_leaves_the_run_going_and_the_next_one_looks_on(
    workspace: Path, pod_environment: dict[str, str], newest_record: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in LONG.items():
        monkeypatch.setenv(name, value)
    first = Cell(workspace, TRAIN)
    try:
        wait_for(lambda: '"loss"' in _events(workspace))
        first.wait_for("step ")
        first.manager.interrupt_kernel()
        first.wait_for("goes on. Run this cell again to look on")
        assert "Traceback" not in first.said
    finally:
        first.end()
    record = newest_record()
    assert record["state"] == "running" and is_alive(record["pid"]), "it outlives the cell and its kernel"

    again = Cell(workspace, TRAIN)
    try:
        again.wait_for("goes on already: looking on")
        again.wait_for("step ")
        os.kill(record["pid"], signal.SIGTERM)
        again.wait_for("run this cell again")
    finally:
        again.end()
    assert "was stopped" in again.said
    assert len(list(workspace.glob("runs/*/record.json"))) == 1, "nothing was started beside it"


def is_alive(pid: int) -> bool:
    return Path(f"/proc/{pid}/cmdline").exists()


def _events(workspace: Path) -> str:
    return "".join(path.read_text() for path in workspace.glob("runs/*/events.jsonl"))


def test_another_job_under_the_same_name_is_refused_in_a_cells_words(
    workspace: Path, pod_environment: dict[str, str]
) -> None:
    cells(workspace, "musabi.train('prodigy')")
    said = refused(workspace, "musabi.choose(NETWORK_DIM=2); musabi.train('prodigy')")
    assert "is there already" in said and "overwrite=True" in said and "Traceback" not in said
    cells(workspace, "musabi.choose(NETWORK_DIM=2)", "musabi.train('prodigy', overwrite=True)")
    assert list((workspace / "output" / "replaced").rglob("demo.safetensors"))


def test_a_broken_dataset_ends_the_cell_with_its_findings(
    workspace: Path, pod_environment: dict[str, str]
) -> None:
    (workspace / "dataset" / "images" / "robot1.txt").unlink()
    (workspace / "dataset" / "images" / "robot2.png").write_bytes(b"no image")
    said = refused(workspace, "musabi.check()")
    assert "robot1.png" in said and "robot2.png" in said and "allow_missing_captions=True" in said


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("musabi.choose(NETWORK_DIM='many')", 'NETWORK_DIM is "many", but it must be a whole number'),
        ("musabi.choose(NETWORK_DIN=3)", "Did you mean NETWORK_DIM?"),
        ("musabi.choose(HF_TOKEN='hf_abcdefgh')", "HF_TOKEN is a secret"),
        ("musabi.losses()", "demo was not trained yet"),
        ("musabi.convert()", "demo was not trained yet"),
        ("musabi.bring_in('nowhere.zip')", "nowhere.zip is not there"),
        ("musabi.stop_pod(confirm=True)", "pod"),
        ("musabi.train('sgd')", 'There is no optimizer "sgd"'),
    ],
)
def test_what_cannot_be_done_is_one_plain_message(
    workspace: Path, pod_environment: dict[str, str], source: str, words: str
) -> None:
    said = refused(workspace, source)
    assert words in said and "Traceback" not in said and "File " not in said


def test_a_zip_and_a_folder_are_brought_in_once(workspace: Path, pod_environment: dict[str, str]) -> None:
    upload, images = workspace / "upload", workspace / "dataset" / "images"
    (upload / "more").mkdir(parents=True)
    with zipfile.ZipFile(upload / "photos.zip", "w") as archive:
        archive.write(images / "robot0.png", "holiday/a.png")
        archive.writestr("holiday/a.txt", "ohwx robot by the sea")
    (upload / "more" / "b.png").write_bytes((images / "robot1.png").read_bytes())
    (upload / "more" / "b.txt").write_text("ohwx robot in a wood")
    (said,) = cells(workspace, "musabi.bring_in()")
    assert "2 images, 2 caption files" in said
    before = sorted(path.name for path in images.iterdir())
    assert {"a.png", "a.txt", "b.png", "b.txt"} <= set(before)
    assert not [name for name in before if name.startswith("photos") or "-2" in name]
    cells(workspace, "musabi.bring_in()")
    assert sorted(path.name for path in images.iterdir()) == before


def test_nothing_uploaded_is_said(workspace: Path, pod_environment: dict[str, str]) -> None:
    (said,) = cells(workspace, "musabi.bring_in()")
    assert "is empty" in said and (workspace / "upload").is_dir()
