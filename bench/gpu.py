"""Seconds per step and peak GPU memory of a real-size Z-Image, under fixed, documented and chosen settings.

python bench/gpu.py [--quick] [--sizes 512,1024] [--batches 1,2] [--settings fixed,ours] [--seconds N] [--keep]

Makes a Z-Image with random weights (12.3 GB on disk) and random caches, so that neither VAE nor text encoder is
needed, and trains a LoRA on it with the real musubi-tuner (--checkout) through musabi's own plan, once a row.
A step's time is that between two bars of the trainer; the median is told, after some steps of warm-up. The peak
is what nvidia-smi says every 100 ms, less what was used before: it holds the CUDA context and what torch keeps
for itself, and may miss a shorter peak. Rows that were measured are kept and not measured again (--again does).
`--toy` does all of it with a model of toy size, on the CPU where there is no GPU.
"""

import argparse
import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType

from random_z_image import REAL, TOY, Sizes, write_caches, write_dit

from musabi.engines.dit_file import dit_dtype, lora_parameters
from musabi.engines.musubi.engine import MusubiEngine
from musabi.engines.musubi.environment import trainer_facts
from musabi.engines.musubi.fit import attention, fit
from musabi.errors import MusabiError
from musabi.job.child import Child
from musabi.job.facts import BucketFacts, CacheFacts, DatasetFacts, Facts
from musabi.job.model import Job
from musabi.job.plan import Schedule, Step
from musabi.machine import machine_facts
from musabi.recipes import load
from musabi.whole import read_json, write_json, write_text

MODEL = "z-image"
SETTINGS: dict[str, dict[str, object]] = {
    # The fixed ones of the closest template for rented GPUs.
    "fixed": {
        "dit_precision": "fp8",
        "gradient_checkpointing": True,
        "blocks_to_swap": 0,
        "attention": "sdpa",
    },
    # docs/zimage.md of musubi-tuner.
    "documented": {
        "dit_precision": "bf16",
        "gradient_checkpointing": True,
        "blocks_to_swap": 0,
        "attention": "sdpa",
    },
    "ours": {},
    # What of it is due to flash-attn; the same as "ours" where that is not there.
    "ours-sdpa": {"attention": "sdpa"},
}
SIZES, BATCHES = (512, 768, 1024, 1280, 1536), (1, 2, 4)
TOY_SIZES, TOY_BATCHES = (64, 128), (1, 2)
RANK, ALPHA = 32, 16
POLL_MS = 100
ROW_SECONDS = 900
TAIL = 20_000
OUT = "out of GPU memory"
DISK_GB = 16
"""The model, and the LoRA with its state that each row leaves for a moment."""
GPU_QUERY = "--query-gpu=name,driver_version,memory.total"


@dataclass(frozen=True)
class Row:
    """One measurement. `seconds` is the median of `steps` steps; `note` says why there is none, or what it equals.

    `peak_mib` is None where no GPU was used. `way` is how the DiT was held, kept, swapped and attended.
    """

    setting: str
    side: int
    batch: int
    way: str = ""
    seconds: float | None = None
    peak_mib: int | None = None
    steps: int = 0
    note: str = ""

    @property
    def key(self) -> str:
        return f"{self.setting} {self.side} {self.batch}"


@dataclass(frozen=True)
class Bench:
    """What is measured, where, and with what."""

    folder: Path
    facts: Facts
    sizes: Sizes
    warm_up: int
    steps: int
    index: str = "0"

    @property
    def toy(self) -> bool:
        return self.sizes == TOY


def main(argv: Sequence[str] | None = None) -> None:
    """Make the model, measure row by row, keep and print the table."""
    options = arguments(argv)
    folder = options.folder or options.workspace / ("gpu-bench-toy" if options.toy else "gpu-bench")
    folder.mkdir(parents=True, exist_ok=True)
    bench = prepare(options, folder)
    about = describe(bench)
    kept = folder / "rows.json"
    rows = {} if options.again else known_rows(kept, about)
    deadline = time.monotonic() + options.seconds if options.seconds else None
    try:
        for side in options.sizes:
            for batch in options.batches:
                for setting in options.settings:
                    row = Row(setting, side, batch)
                    if row.key in rows:
                        continue
                    if deadline and time.monotonic() > deadline:
                        rows[row.key] = replace(row, note="not measured: the time was up")
                        continue
                    rows[row.key] = measure(bench, row, list(rows.values()))
                    told = [asdict(one) for one in rows.values() if one.steps or one.note == OUT]
                    write_json(kept, {"about": about, "rows": told})
                    print(line(rows[row.key]), file=sys.stderr, flush=True)
    finally:
        if not options.keep:
            shutil.rmtree(folder / "models", ignore_errors=True)
    ordered = sorted(rows.values(), key=lambda row: (row.side, row.batch, list(SETTINGS).index(row.setting)))
    text = markdown(about, ordered)
    write_text(folder / "table.md", text)
    print(text)
    print(json.dumps({"about": about, "rows": [asdict(row) for row in ordered]}))


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return what was asked for, with the defaults that depend on other answers."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    workspace = Path(os.environ.get("WORKSPACE", "/workspace"))
    parser.add_argument("--workspace", type=Path, default=workspace)
    parser.add_argument(
        "--checkout", type=Path, help="musubi-tuner with its .venv (default: in the workspace)"
    )
    parser.add_argument("--folder", type=Path, help="for the model, the rows and the table")
    parser.add_argument("--sizes", type=_numbers, help="sides in pixels, such as 512,1024")
    parser.add_argument("--batches", type=_numbers, help="such as 1,2,4")
    parser.add_argument(
        "--settings", type=lambda text: text.split(","), default=list(SETTINGS), help=", ".join(SETTINGS)
    )
    parser.add_argument("--quick", action="store_true", help="512 and 1024 pixels, batch size 1, few steps")
    parser.add_argument("--seconds", type=float, help="begin no row after so many")
    parser.add_argument("--keep", action="store_true", help="leave the model's 12.3 GB for another time")
    parser.add_argument("--again", action="store_true", help="measure rows anew that are known")
    parser.add_argument("--toy", action="store_true", help="a model of toy size, to try the command")
    options = parser.parse_args(argv)
    unknown = [name for name in options.settings if name not in SETTINGS]
    if unknown:
        parser.error(f"--settings knows {', '.join(SETTINGS)}, not {', '.join(unknown)}")
    quick = ((512, 1024), (1,)) if options.quick else (SIZES, BATCHES)
    sizes, batches = (TOY_SIZES, TOY_BATCHES) if options.toy else quick
    options.sizes, options.batches = options.sizes or sizes, options.batches or batches
    options.checkout = options.checkout or options.workspace / "musubi-tuner"
    return options


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


def prepare(options: argparse.Namespace, folder: Path) -> Bench:
    """Write the model and look at the machine; end with a sentence where something is missing."""
    sizes = TOY if options.toy else REAL
    try:
        trainer = trainer_facts(options.checkout, folder, load(MODEL), folder)
    except MusabiError as error:
        sys.exit(str(error))
    machine = machine_facts()
    if not machine.gpus and not options.toy:
        sys.exit("There is no GPU here. --toy tries the command with a model of toy size on the CPU.")
    free = shutil.disk_usage(folder).free / 1e9
    if not options.toy and free < DISK_GB and not (folder / "models").exists():
        sys.exit(
            f"The model takes 12.3 GB, and {folder} has room for {free:.0f}. Name another with --folder."
        )
    index = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0] or "0"
    dit = write_dit(folder / "models", sizes)
    facts = Facts(
        machine=replace(machine, gpus=machine.gpus[:1]),
        dataset=DatasetFacts(images=0, batches_per_epoch=0),
        trainer=trainer,
        lora_parameters=lora_parameters(dit, load(MODEL).network.modules, RANK),
        dit_dtype=dit_dtype(dit),
    )
    warm_up, steps = (2, 5) if options.quick or options.toy else (4, 12)
    return Bench(folder, facts, sizes, warm_up, steps, index)


def describe(bench: Bench) -> dict[str, str]:
    """Return what the figures were measured on and with."""
    name, driver, memory = "none (CPU)", "none", "none"
    if bench.facts.machine.gpus:
        asked = ("nvidia-smi", GPU_QUERY, "--format=csv,noheader", f"--id={bench.index}")
        answer = subprocess.run(asked, capture_output=True, text=True, timeout=20, check=True).stdout
        name, driver, memory = (part.strip() for part in answer.splitlines()[0].split(","))
    trainer = bench.facts.trainer
    return {
        "GPU": f"{name}, {memory}" if bench.facts.machine.gpus else name,
        "driver": driver,
        "torch": trainer.torch,
        "musubi-tuner": trainer.commit or "unknown",
        "flash-attn": "proven" if "flash_attn" in trainer.packages else "not proven in this environment",
        "model": "Z-Image of toy size" if bench.toy else "Z-Image, 6.15 billion parameters, random",
        "LoRA": f"rank {RANK}, AdamW8bit" if "bitsandbytes" in trainer.packages else f"rank {RANK}, AdamW",
        "steps": f"median of {bench.steps} after {bench.warm_up}",
    }


def known_rows(kept: Path, about: dict[str, str]) -> dict[str, Row]:
    """Return the rows that were measured before on the same machine with the same trainer."""
    found = read_json(kept)
    if not isinstance(found, dict) or found.get("about") != about:
        return {}
    rows = [Row(**values) for values in found["rows"]]
    return {row.key: row for row in rows}


def measure(bench: Bench, row: Row, before: Sequence[Row]) -> Row:
    """Return the row with its figures; what trains in the same way as a row before is not run again."""
    job, facts = job_for(bench, row), facts_for(bench, row)
    found = replace(row, way=way(job, facts))
    same = next(
        (
            one
            for one in before
            if (one.way, one.side, one.batch) == (found.way, row.side, row.batch) and one.steps
        ),
        None,
    )
    if same:
        return replace(same, setting=row.setting, note=f"the same as {same.setting}")
    write_dataset(bench, row)
    try:
        return run(bench, found, train_step(bench, job, facts))
    except MusabiError as error:
        return replace(found, note=f"could not run: {error}")
    finally:
        shutil.rmtree(bench.folder / "work", ignore_errors=True)


def job_for(bench: Bench, row: Row) -> Job:
    """Return the job of a row."""
    work = bench.folder / "work"
    return Job.model_validate(
        {
            "model": MODEL,
            "output_name": "bench",
            "output_dir": work / "output",
            "logging_dir": work / "logs",
            "dataset_config": work / "dataset.toml",
            "sample_prompts": work / "none.txt",
            # Named on every command line, read only where samples are rendered.
            "weights": {"dit": _dit(bench), "vae": work / "none.safetensors"},
            "optimizer": "adamw8bit",
            "network_dim": RANK,
            "network_alpha": ALPHA,
            "max_train_steps": bench.warm_up + bench.steps,
            **SETTINGS[row.setting],
        }
    )


def _dit(bench: Bench) -> Path:
    return next(iter(sorted((bench.folder / "models").glob("*-00001-of-*.safetensors"))))


def facts_for(bench: Bench, row: Row) -> Facts:
    """Return the machine's facts with the row's dataset: one bucket, one epoch, a batch a step."""
    steps = bench.warm_up + bench.steps
    bucket = BucketFacts(row.side, row.side, row.batch, steps, batch=row.batch)
    fresh = CacheFacts(expected=row.batch)
    dataset = DatasetFacts(row.batch, steps, (bucket,), latents=fresh, text=fresh)
    return replace(bench.facts, dataset=dataset)


def way(job: Job, facts: Facts) -> str:
    """Say how the DiT is trained."""
    rung = fit(job, facts, load(MODEL)).rung
    parts = (
        "fp8" if rung.fp8 else "bf16",
        "checkpointing" if rung.checkpointing else "no checkpointing",
        f"{rung.swap} blocks swapped" if rung.swap else "",
        attention(job, facts, load(MODEL)) or "",
    )
    return ", ".join(part for part in parts if part)


def write_dataset(bench: Bench, row: Row) -> None:
    """Write the caches of a row and the dataset TOML that finds them; the pictures themselves are not needed."""
    work = bench.folder / "work"
    shutil.rmtree(work, ignore_errors=True)
    write_caches(work / "cache", bench.sizes, row.side, row.batch)
    repeats = bench.warm_up + bench.steps
    lines = (
        "[general]",
        f"resolution = [{row.side}, {row.side}]",
        'caption_extension = ".txt"',
        f"batch_size = {row.batch}",
        f"num_repeats = {repeats}",
        "enable_bucket = true",
        "[[datasets]]",
        f"image_directory = {json.dumps(str(work / 'images'))}",
        f"cache_directory = {json.dumps(str(work / 'cache'))}",
    )
    write_text(work / "dataset.toml", "\n".join(lines) + "\n")


def train_step(bench: Bench, job: Job, facts: Facts) -> Step:
    """Return the training step of musabi's own plan; a toy's script is started by toy_trainer.py."""
    steps = bench.warm_up + bench.steps
    timing = Schedule(steps, 1, steps, 0, save_every=1, state_every=1, sample_every=None)
    step = MusubiEngine().train_step(job, facts, timing, None)
    if not bench.toy:
        return step
    sizes = json.dumps(asdict(bench.sizes) | {"heads": bench.sizes.heads})
    python, *rest = step.argv
    return replace(step, argv=(python, str(Path(__file__).with_name("toy_trainer.py")), sizes, *rest))


def run(bench: Bench, row: Row, step: Step) -> Row:
    """Run the trainer; return the row with the median of its steps, or with what went wrong."""
    engine = MusubiEngine()
    parser, seen, tail = engine.parser(step), dict[int, float](), ""
    (bench.folder / "work" / "output").mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    memory = PeakMemory(bench.index if bench.facts.machine.gpus else None)
    child = Child(step.argv, os.environ | step.env, step.cwd)
    try:
        with memory:
            while (code := child.poll()) is None and time.monotonic() - begun < ROW_SECONDS:
                text = child.read(0.2)
                now = time.monotonic()
                tail = (tail + text)[-TAIL:]
                for event in parser.feed(text):
                    if event.step is not None and event.loss is not None:
                        seen.setdefault(event.step, now)
    finally:
        child.close()
    found = replace(row, peak_mib=memory.peak)
    if code is None:
        return replace(found, note=f"ended after {ROW_SECONDS} s")
    if code != 0:
        failure = engine.explain(step, code, tail)
        return replace(found, note=OUT if failure.kind == "memory" else f"failed: {failure.message}")
    each = spans(seen, bench.warm_up)
    return replace(found, seconds=round(statistics.median(each), 4) if each else None, steps=len(each))


def spans(seen: dict[int, float], warm_up: int) -> list[float]:
    """Return the seconds of each step from the end of the one before, without the first `warm_up` steps.

    `seen` maps steps to the time when their bar came; of one that was not seen, the time goes to the next.
    """
    return [
        (time_b - time_a) / (b - a)
        for (a, time_a), (b, time_b) in itertools.pairwise(sorted(seen.items()))
        if a >= warm_up
    ]


class PeakMemory:
    """The most memory of a GPU that nvidia-smi saw used while this was open, above what was used before, in MiB."""

    def __init__(self, index: str | None) -> None:
        self._index = index
        self._first: int | None = None
        self._most = 0
        self._process: subprocess.Popen[str] | None = None

    @property
    def peak(self) -> int | None:
        return None if self._first is None else self._most - self._first

    def __enter__(self) -> "PeakMemory":
        if self._index is not None:
            query = ("--query-gpu=memory.used", "--format=csv,noheader,nounits", f"-lms={POLL_MS}")
            argv = ("nvidia-smi", *query, f"--id={self._index}")
            self._process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
            threading.Thread(target=self._read, daemon=True).start()
        return self

    def _read(self) -> None:
        stream = self._process.stdout if self._process else None
        for text in stream or ():
            if text.strip().isdigit():
                used = int(text)
                self._first = used if self._first is None else self._first
                self._most = max(self._most, used)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=10)


def line(row: Row) -> str:
    """Return one row for the screen while it runs."""
    seconds = f"{row.seconds:.3f} s/step" if row.seconds else row.note
    return f"{row.setting}, {row.side} px, batch {row.batch}: {seconds} ({row.way})"


def markdown(about: dict[str, str], rows: Sequence[Row]) -> str:
    """Return the table, after what it was measured on and before what could not run."""
    head = [f"{name}: {value}  " for name, value in about.items()]
    names = ("settings", "px", "batch", "s/step", "images/s", "x fixed", "peak GiB", "how", "note")
    table = ["| " + " | ".join(names) + " |", "|" + " --- |" * len(names)]
    for row in rows:
        table.append("| " + " | ".join(_cells(row, rows)) + " |")
    failed = [f"- {row.key}: {row.note}" for row in rows if row.seconds is None]
    return "\n".join([*head, "", *table, *(["", "Could not run:", *failed] if failed else [])]) + "\n"


def _cells(row: Row, rows: Sequence[Row]) -> tuple[str, ...]:
    fixed = next((one.seconds for one in rows if one.key == replace(row, setting="fixed").key), None)
    ratio = f"{fixed / row.seconds:.2f}" if fixed and row.seconds else ""
    return (
        row.setting,
        str(row.side),
        str(row.batch),
        f"{row.seconds:.3f}" if row.seconds else "",
        f"{row.batch / row.seconds:.2f}" if row.seconds else "",
        ratio,
        f"{row.peak_mib / 1024:.1f}" if row.peak_mib is not None else "",
        row.way,
        row.note,
    )


if __name__ == "__main__":
    main()
