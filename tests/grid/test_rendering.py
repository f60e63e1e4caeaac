"""Rendering what is missing. The stand-in samplers are a few lines of Python that write small PNGs."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from musabi.errors import ExitCode, TrainerError
from musabi.grid.cells import Column, columns, rows
from musabi.grid.rendering import Studio, render
from musabi.grid.sheet import make_grid
from musabi.job.engine import Failure
from musabi.job.events import Event, parse
from musabi.job.facts import DatasetFacts, Facts, MachineFacts, TrainerFacts
from musabi.job.model import Job
from musabi.job.plan import Step
from musabi.job.prompt import Prompt

# A prompt with "bad" in it is passed over without a word, a LoRA named "broken" ends the process.
SAMPLER = """
import json, sys, time
from pathlib import Path
from PIL import Image
source, folder, lora, named, first = sys.argv[1:6]
folder = Path(folder)
folder.mkdir(parents=True, exist_ok=True)
if "broken" in lora:
    sys.exit("the LoRA is broken")
for number, line in enumerate(Path(source).read_text().splitlines()):
    if "bad" in line or (first != "all" and number != int(first)):
        continue
    seed = line.rpartition("--d ")[2]
    name = f"demo_{number:02d}_20260101120000_{seed}.png" if named == "yes" else f"time-{number:03d}_{seed}_000.png"
    Image.new("RGB", (32, 32), (len(line) * 3 % 256, 90, 90)).save(folder / name)
    if named == "yes":
        print(json.dumps({"phase": "sample", "kind": "sample", "file": str(folder / name)}), flush=True)
"""


class Lines:
    """Reads the events that the stand-in prints."""

    def feed(self, text: str) -> list[Event]:
        return [event for line in text.splitlines() if (event := parse(line))]


@dataclass
class StandInEngine:
    """`names`: the sampler names its pictures itself, as the embedded engine's; else as musubi-tuner's does.

    `single`: its script takes one prompt a process. `asked` notes what was asked for.
    """

    names: bool = False
    single: bool = False
    asked: list[tuple[str, float, int]] = field(default_factory=list)

    def sample_steps(
        self, job: Job, facts: Facts, lora: Path | None, folder: Path, strength: float = 1.0
    ) -> tuple[Step, ...]:
        def step(first: str) -> Step:
            written = folder if self.names else folder / f".demo.sampling-{first}"
            code = ("-c", SAMPLER, str(job.sample_prompts), str(written), str(lora))
            return Step(
                "sample",
                "Sample",
                (sys.executable, *code, "yes" if self.names else "no", first),
                pictures=None if self.names else (written, folder, "demo"),
                first_picture=int(first) if first != "all" else 0,
            )

        if job.sample_prompts.is_file():
            self.asked.append((lora.stem if lora else "base", strength, len(facts.prompts)))
        return (
            tuple(step(str(number)) for number in range(len(facts.prompts)))
            if self.single
            else (step("all"),)
        )

    def parser(self, step: Step) -> Lines:
        return Lines()

    def explain(self, step: Step, exit_code: int, tail: str) -> Failure:
        return Failure(tail.strip(), ExitCode.TRAINER_FAILED)


@pytest.fixture
def studio(tmp_path: Path) -> Callable[..., Studio]:
    def make(**kind: bool) -> Studio:
        paths: dict[str, Any] = {
            name: tmp_path / name
            for name in ("output_dir", "logging_dir", "dataset_config", "sample_prompts")
        }
        job = Job(**paths, output_name="demo", weights={})
        facts = Facts(MachineFacts(), DatasetFacts(0, 0), TrainerFacts(Path(sys.executable)), {})
        engine: Any = StandInEngine(kind.get("names", False), kind.get("single", False))
        return Studio(engine, job, facts, tmp_path / "kept", "setup")

    return make


def prompts(*texts: str) -> tuple[Prompt, ...]:
    return rows([Prompt(text) for text in texts], 42)


def two(*names: str, with_base: bool = False) -> tuple[Column, ...]:
    """Return the columns of LoRAs with these names, at strengths 0.5 and 1."""
    return columns(
        [(name, Path(f"{name}.safetensors"), name * 3) for name in names], (0.5, 1.0), with_base=with_base
    )


KINDS = [{"names": True}, {"names": False}, {"single": True}]


@pytest.mark.parametrize("kind", KINDS)
def test_a_process_renders_all_prompts_of_a_column_and_nothing_is_rendered_twice(
    studio: Callable[..., Studio], kind: dict[str, bool]
) -> None:
    here, shown, wanted = studio(**kind), two("a", with_base=True), prompts("one", "two")
    said: list[str] = []
    assert render(here, here.missing(shown, wanted), said.append) == []
    assert here.engine.asked == [("base", 1.0, 2), ("a", 0.5, 2), ("a", 1.0, 2)]  # type: ignore[attr-defined]
    assert [line.split("]")[0] for line in said] == [f"[{number}/6" for number in range(1, 7)]
    assert here.missing(shown, wanted) == []

    # One is gone, one is cut off, one is new.
    gone, cut = here.kept(shown[0], wanted[0]), here.kept(shown[2], wanted[1])
    assert gone is not None and cut is not None
    gone.unlink()
    cut.write_bytes(cut.read_bytes()[:-5])
    more = prompts("one", "two", "three")
    tasks = here.missing(shown, more)
    assert [[prompt.text for prompt in task.prompts] for task in tasks] == [
        ["one", "three"],
        ["three"],
        ["two", "three"],
    ]
    assert render(here, tasks, said.append) == [] and here.missing(shown, more) == []
    assert [path.name for path in here.folder.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("kind", KINDS)
def test_every_picture_is_that_of_its_prompt(studio: Callable[..., Studio], kind: dict[str, bool]) -> None:
    """The stand-in's color tells the length of the prompt line, even where it passed over another."""
    from PIL import Image

    here, shown, wanted = studio(**kind), two("a")[:1], prompts("one", "bad prompt", "three and more")
    assert render(here, here.missing(shown, wanted), lambda text: None) == []
    assert here.kept(shown[0], wanted[1]) is None
    for prompt in (wanted[0], wanted[2]):
        path = here.kept(shown[0], prompt)
        assert path is not None
        with Image.open(path) as picture:
            assert picture.getpixel((0, 0)) == (len(f"{prompt.text} --d 42") * 3, 90, 90)


def test_the_same_lora_under_two_names_is_rendered_once(studio: Callable[..., Studio]) -> None:
    here = studio()
    same = columns([("a", Path("a"), "ff"), ("b", Path("b"), "ff")], (1.0,), with_base=False)
    assert [task.column.label for task in here.missing(same, prompts("one"))] == ["a"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_failing_column_does_not_cost_the_others(
    studio: Callable[..., Studio], kind: dict[str, bool]
) -> None:
    here, wanted = studio(**kind), prompts("one")
    shown = (two("broken")[0], *two("fine"))
    problems = render(here, here.missing(shown, wanted), lambda text: None)
    assert problems == ["broken, strength 0.5: the LoRA is broken"]
    assert [here.kept(column, wanted[0]) is not None for column in shown] == [False, True, True]


def test_after_two_failures_in_a_row_the_rest_is_left(studio: Callable[..., Studio], tmp_path: Path) -> None:
    here, wanted = studio(), prompts("one")
    with pytest.raises(TrainerError, match="the LoRA is broken"):
        render(here, here.missing(two("broken", "fine"), wanted), lambda text: None)
    assert len(here.engine.asked) == 2  # type: ignore[attr-defined]
    shown = (two("fine")[0], *two("broken", "other"))
    done = make_grid(here, shown, wanted, 64, tmp_path / "grid.png", lambda text: None)
    assert done.problems[-1] == "2 more columns were not tried." and len(done.empty) == 4
    assert done.rendered == 1 and done.path.is_file()
    assert "4 cells stayed grey" in done.as_text() and "prompt 1 (one), other, strength 0.5" in done.as_text()


@pytest.mark.parametrize("kind", KINDS[:2])
def test_a_grid_that_is_stopped_keeps_what_was_rendered(
    studio: Callable[..., Studio], kind: dict[str, bool]
) -> None:
    here, shown, wanted = studio(**kind), two("a", "b"), prompts("one", "two")

    def stop(line: str) -> None:
        if line.startswith("[3/"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        render(here, here.missing(shown, wanted), stop)
    left = here.missing(shown, wanted)
    assert sum(len(task.prompts) for task in left) == 5 and len(left) == 3
    assert render(here, left, lambda text: None) == [] and here.missing(shown, wanted) == []


def test_a_picture_that_can_not_be_read_stays_grey_and_is_named(
    studio: Callable[..., Studio], tmp_path: Path
) -> None:
    here, shown, wanted = studio(), two("a")[:1], prompts("one", "two")
    make_grid(here, shown, wanted, 64, tmp_path / "grid.png", lambda text: None)
    broken = here.kept(shown[0], wanted[1])
    assert broken is not None
    broken.write_bytes(b"no picture" + broken.read_bytes()[-12:])
    done = make_grid(here, shown, wanted, 64, tmp_path / "grid.png", lambda text: None)
    assert done.rendered == 0 and done.empty == [f"prompt 2 (two), a, strength 0.5: delete {broken}"]
