"""bench/gpu.py where no GPU is: the random model, medians, the table, what is known from before."""

import json
import subprocess
import sys
import time
from itertools import pairwise
from math import prod
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from musabi.engines.dit_file import dit_dtype, lora_parameters
from musabi.job.facts import DatasetFacts, Facts, MachineFacts, TrainerFacts
from musabi.job.plan import Step
from musabi.recipes import load
from musabi.whole import is_whole_safetensors, safetensors_header

REAL_PARAMETERS = 6_154_908_736
"""Of diffusers' ZImageTransformer2DModel as it is published, counted on the meta device."""
ABOUT = {"GPU": "a card, 80 GiB", "torch": "2.9.1"}


def test_the_real_size_has_the_published_models_parameters(random_z_image: ModuleType) -> None:
    listed = list(random_z_image.tensors(random_z_image.REAL))
    assert sum(prod(one.shape) for one in listed) == REAL_PARAMETERS
    assert round(REAL_PARAMETERS / 1e9, 2) == load("z-image").memory.dit_billions
    assert len({one.name for one in listed}) == len(listed)
    assert random_z_image.REAL.heads == 30


def test_the_header_says_where_each_tensor_of_the_real_size_lies(random_z_image: ModuleType) -> None:
    listed = list(random_z_image.tensors(random_z_image.REAL))
    beginning = random_z_image.header(listed, {})
    entries = json.loads(beginning[8:])
    del entries["__metadata__"]
    spans = sorted(entry["data_offsets"] for entry in entries.values())
    assert spans[0][0] == 0 and spans[-1][1] == 2 * REAL_PARAMETERS
    assert all(before[1] == after[0] for before, after in pairwise(spans))
    assert int.from_bytes(beginning[:8], "little") == len(beginning) - 8


def test_a_toy_is_written_in_whole_shards_that_the_product_can_read(
    random_z_image: ModuleType, tmp_path: Path
) -> None:
    first = random_z_image.write_dit(tmp_path, random_z_image.TOY)
    files = sorted(tmp_path.glob("*.safetensors"))
    assert files[0] == first and len(files) == 2
    assert all(is_whole_safetensors(file) for file in files)
    assert dit_dtype(first) == "BF16"
    # Rank 4 on three layers: four square Linears of 64, three between 64 and 170.
    assert lora_parameters(first, load("z-image").network.modules, 4) == 4 * 3 * (4 * 128 + 3 * 234)
    before = [file.stat().st_mtime_ns for file in files]
    random_z_image.write_dit(tmp_path, random_z_image.TOY)
    assert [file.stat().st_mtime_ns for file in files] == before


def test_weights_are_random_and_small_norms_one_biases_zero(
    random_z_image: ModuleType, tmp_path: Path
) -> None:
    file = random_z_image.write_dit(tmp_path, random_z_image.TOY)
    found = values(file)
    weight = found["all_x_embedder.2-1.weight"]
    assert weight.std() == pytest.approx(0.02, rel=0.1) and abs(weight.mean()) < 0.002
    assert set(found["all_x_embedder.2-1.bias"]) == {0.0}
    assert set(found["cap_embedder.0.weight"]) == {1.0}


def values(file: Path) -> dict[str, np.ndarray[Any, np.dtype[np.float32]]]:
    """Return the tensors of a bf16 file, flat, in 32 bits."""
    header = safetensors_header(file)
    assert header is not None
    data = file.read_bytes()[8 + header[0] :]
    entries = {name: one["data_offsets"] for name, one in header[1].items() if name != "__metadata__"}
    read = {name: np.frombuffer(data[start:end], np.uint16) for name, (start, end) in entries.items()}
    return {name: (one.astype(np.uint32) << 16).view(np.float32) for name, one in read.items()}


def test_caches_have_the_trainers_names_and_keys(random_z_image: ModuleType, tmp_path: Path) -> None:
    random_z_image.write_caches(tmp_path, random_z_image.TOY, 128, 2)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [
        "random000_0128x0128_zi.safetensors",
        "random000_zi_te.safetensors",
        "random001_0128x0128_zi.safetensors",
        "random001_zi_te.safetensors",
    ]
    latent, text = (safetensors_header(tmp_path / name) for name in names[:2])
    assert latent is not None and text is not None
    assert latent[1]["latents_1x16x16_float32"]["shape"] == [16, 16, 16]
    assert latent[1]["__metadata__"]["architecture"] == "z_image"
    tokens, width = text[1]["varlen_llm_embed_bfloat16"]["shape"]
    assert 96 <= tokens < 160 and width == 64


def test_the_first_steps_and_a_stall_do_not_move_the_median(gpu: ModuleType) -> None:
    seen = {1: 0.0, 2: 9.0, 3: 18.0, 4: 19.0, 5: 20.0, 6: 70.0, 7: 71.0}
    assert gpu.spans(seen, 3) == [1.0, 1.0, 50.0, 1.0]


def test_a_step_that_was_not_seen_shares_its_time(gpu: ModuleType) -> None:
    assert gpu.spans({2: 0.0, 3: 1.0, 5: 4.0}, 2) == [1.0, 1.5]


def test_the_table_compares_with_the_fixed_settings_of_the_same_size(gpu: ModuleType) -> None:
    rows = [
        gpu.Row("fixed", 1024, 1, "fp8, checkpointing, sdpa", 0.9, 12_288, 12),
        gpu.Row("ours", 1024, 1, "bf16, no checkpointing, flash_attn", 0.5, 53_248, 12),
        gpu.Row("ours", 1536, 4, "bf16, checkpointing, sdpa", None, 81_000, 0, gpu.OUT),
    ]
    text = gpu.markdown(ABOUT, rows).splitlines()
    assert text[:2] == ["GPU: a card, 80 GiB  ", "torch: 2.9.1  "]
    assert text[-6:] == [
        "| fixed | 1024 | 1 | 0.900 | 1.11 | 1.00 | 12.0 | fp8, checkpointing, sdpa |  |",
        "| ours | 1024 | 1 | 0.500 | 2.00 | 1.80 | 52.0 | bf16, no checkpointing, flash_attn |  |",
        "| ours | 1536 | 4 |  |  |  | 79.1 | bf16, checkpointing, sdpa | out of GPU memory |",
        "",
        "Could not run:",
        "- ours 1536 4: out of GPU memory",
    ]


def test_rows_are_known_again_on_the_same_machine_only(gpu: ModuleType, tmp_path: Path) -> None:
    row = {"setting": "ours", "side": 512, "batch": 1, "seconds": 0.5, "steps": 5}
    kept = tmp_path / "rows.json"
    kept.write_text(json.dumps({"about": ABOUT, "rows": [row]}))
    assert gpu.known_rows(kept, ABOUT) == {"ours 512 1": gpu.Row(**row)}
    assert gpu.known_rows(kept, ABOUT | {"torch": "2.10"}) == {}
    assert gpu.known_rows(tmp_path / "none.json", ABOUT) == {}


def test_the_fixed_settings_are_those_of_the_other_template(gpu: ModuleType, tmp_path: Path) -> None:
    fixed = gpu.SETTINGS["fixed"]
    assert (fixed["dit_precision"], fixed["gradient_checkpointing"], fixed["attention"]) == (
        "fp8",
        True,
        "sdpa",
    )
    assert gpu.SETTINGS["ours"] == {}


def test_without_a_trainer_it_ends_with_what_to_do(tmp_path: Path) -> None:
    program = Path(__file__).parents[2] / "bench" / "gpu.py"
    argv = [sys.executable, str(program), "--toy", "--workspace", str(tmp_path)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "Run musabi bootstrap" in done.stderr and "Traceback" not in done.stderr


OUT_OF_MEMORY = """
import sys
print("steps:  50%|x| 1/2 [00:01<00:01,  1.00s/it, avr_loss=0.5]", file=sys.stderr)
print("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.", file=sys.stderr)
sys.exit(1)
"""
STEPS = """
import sys, time
for step in range(1, 6):
    time.sleep(0.1)
    print(f"\\rsteps:  50%|x| {step}/5 [00:01<00:01,  1.00s/it, avr_loss=0.5]", end="", file=sys.stderr, flush=True)
"""


def ran(gpu: ModuleType, folder: Path, code: str) -> Any:
    """Return the row that a stand-in for the trainer leaves."""
    trainer = TrainerFacts(python=Path(sys.executable))
    facts = Facts(MachineFacts(), DatasetFacts(1, 5), trainer)
    bench = gpu.Bench(folder, facts, gpu.TOY, warm_up=1, steps=4)
    return gpu.run(bench, gpu.Row("ours", 512, 1, "bf16"), Step("train", "", (sys.executable, "-c", code)))


def test_out_of_memory_is_a_row_and_no_end(gpu: ModuleType, tmp_path: Path) -> None:
    row = ran(gpu, tmp_path, OUT_OF_MEMORY)
    assert (row.seconds, row.steps, row.note) == (None, 0, gpu.OUT)


def test_a_trainer_that_fails_is_a_row_with_the_reason(gpu: ModuleType, tmp_path: Path) -> None:
    row = ran(gpu, tmp_path, "raise SystemExit(1)")
    assert row.seconds is None and row.note.startswith("failed: ")


def test_steps_are_timed_by_their_bars(gpu: ModuleType, tmp_path: Path) -> None:
    row = ran(gpu, tmp_path, STEPS)
    assert row.steps == 4 and row.note == ""
    assert 0.08 < row.seconds < 0.5


def test_the_peak_is_the_most_that_was_seen_above_the_first(
    gpu: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in = tmp_path / "nvidia-smi"
    stand_in.write_text("#!/bin/sh\nprintf '400\\n9000\\n700\\n'\nexec sleep 30\n")
    stand_in.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with gpu.PeakMemory("0") as memory:
        deadline = time.monotonic() + 10
        while memory.peak != 8600 and time.monotonic() < deadline:
            time.sleep(0.01)
    assert memory.peak == 8600
    with gpu.PeakMemory(None) as none:
        pass
    assert none.peak is None
