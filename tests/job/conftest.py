"""A stand-in engine: its "trainer" is a few lines of Python, so that the runner is tested alone."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from musabi.errors import ExitCode
from musabi.job.engine import Failure
from musabi.job.events import Event, parse
from musabi.job.facts import Facts
from musabi.job.model import Job
from musabi.job.new_run import new_record
from musabi.job.plan import Choice, Plan, ResumePoint, Schedule, Step
from musabi.job.record import Leg, RunFolder


class LineParser:
    """Reads the event lines that the stand-in trainer prints."""

    def __init__(self) -> None:
        self.rest = ""

    def feed(self, text: str) -> list[Event]:
        *lines, self.rest = (self.rest + text).split("\n")
        return [event for line in lines if (event := parse(line)) is not None]


@dataclass
class StandInEngine:
    """Plans steps that print what the test says."""

    name: str = "stand-in"
    saves_on_stop: bool = False
    code: str = "pass"
    refused: Exception | None = None
    explained: list[str] = field(default_factory=list)

    def processes(self, facts: Facts) -> int:
        return max(1, len(facts.machine.gpus))

    def batches_a_step(self, job: Job, facts: Facts) -> int:
        return self.processes(facts)

    def refuse(self, job: Job, facts: Facts) -> None:
        if self.refused is not None:
            raise self.refused

    def cache_steps(self, job: Job, facts: Facts) -> tuple[Step, ...]:
        latents, text = facts.dataset.latents, facts.dataset.text
        return (
            Step("cache-latents", "Cache latents", ("true",), skip="fresh" if latents.fresh else None),
            Step("cache-text", "Cache captions", ("true",), skip="fresh" if text.fresh else None),
        )

    def train_step(self, job: Job, facts: Facts, schedule: Schedule, resume: ResumePoint | None) -> Step:
        return Step("train", "Train", (sys.executable, "-c", self.code, str(job.blocks_to_swap or 0)))

    def adapter_steps(self, job: Job, facts: Facts) -> tuple[Step, ...]:
        return ()

    def convert_step(self, job: Job, source: Path, target: Path) -> Step:
        return Step("convert", "Convert", ("cp", str(source), str(target)))

    def sample_steps(
        self, job: Job, facts: Facts, lora: Path | None, folder: Path, strength: float = 1.0
    ) -> tuple[Step, ...]:
        return (Step("sample", "Sample", ("true",)),)

    def decode_steps(self, job: Job, facts: Facts, latents: Sequence[Path], folder: Path) -> tuple[Step, ...]:
        return (Step("sample", "Decode", ("true",)),)

    def choices(self, job: Job, facts: Facts, schedule: Schedule) -> list[Choice]:
        return []

    def warnings(self, job: Job, facts: Facts) -> list[str]:
        return []

    def easier(self, job: Job, facts: Facts, plan: Plan) -> tuple[Job, str] | None:
        """Swap eight more blocks each time, up to 24; the stand-in trainer is told by its last argument."""
        now = job.blocks_to_swap or 0
        more = {"blocks_to_swap": now + 8}
        return (job.model_copy(update=more), f"BLOCKS_TO_SWAP={now + 8}") if now < 24 else None

    def parser(self, step: Step) -> LineParser:
        return LineParser()

    def explain(self, step: Step, exit_code: int, tail: str) -> Failure:
        self.explained.append(tail)
        said = f"{step.title} failed: {tail.strip().splitlines()[-1]}"
        return Failure(said, ExitCode.TRAINER_FAILED, kind="memory" if "no memory left" in tail else "other")

    def state_is_whole(self, folder: Path) -> bool:
        return (folder / "whole").exists()


@pytest.fixture
def make_job(tmp_path: Path) -> Callable[..., Job]:
    def make(**values: object) -> Job:
        names = ("output_dir", "logging_dir", "dataset_config", "sample_prompts")
        paths: dict[str, object] = {name: tmp_path / name for name in names}
        paths["weights"] = {role: tmp_path / role for role in ("dit", "vae", "text_encoder")}
        return Job.model_validate({**paths, "output_name": "demo", **values})

    return make


@pytest.fixture
def stand_in() -> type[StandInEngine]:
    return StandInEngine


TIMING = Schedule(
    steps_per_epoch=4, epochs=3, steps=12, warmup_steps=0, save_every=1, state_every=1, sample_every=None
)


@pytest.fixture
def legs() -> list[Leg]:
    return [Leg(started=0, epochs=3, steps=12, steps_per_epoch=4)]


@pytest.fixture
def run_folder(tmp_path: Path, make_job: Callable[..., Job]) -> Callable[..., RunFolder]:
    """Make the folder of a run whose training step is `code`, with more steps before or after it."""

    def make(
        code: str,
        *,
        before: tuple[Step, ...] = (),
        after: tuple[Step, ...] = (),
        plan: dict[str, object] | None = None,
        **job: object,
    ) -> RunFolder:
        folder = RunFolder(tmp_path / "runs" / "demo-1")
        folder.path.mkdir(parents=True)
        train = Step("train", "Train", (sys.executable, "-u", "-c", code))
        made = replace(Plan(steps=(*before, train, *after), schedule=TIMING), **(plan or {}))
        folder.save(new_record("demo-1", make_job(**job), made))
        return folder

    return make
