"""bench/gpu.py with the real trainer and a model of toy size, on the CPU."""

import json
import sys
from pathlib import Path
from typing import Any

BENCH = Path(__file__).parents[2] / "bench" / "gpu.py"


def test_the_bench_measures_a_toy_with_the_real_trainer_and_knows_its_rows_again(
    pod: Any, tmp_path: Path
) -> None:
    argv = (
        sys.executable,
        str(BENCH),
        "--toy",
        "--sizes",
        "64",
        "--batches",
        "1,2",
        "--folder",
        str(tmp_path),
    )
    printed = pod.run(*argv, PYTHONPATH="")
    found = json.loads(printed.splitlines()[-1])
    rows = {(row["setting"], row["batch"]): row for row in found["rows"]}
    assert set(rows) == {
        (name, batch) for name in ("fixed", "documented", "ours", "ours-sdpa") for batch in (1, 2)
    }
    assert all(row["seconds"] > 0 and row["steps"] == 5 for row in rows.values()), printed
    assert rows["fixed", 1]["way"] == "fp8, checkpointing, sdpa"
    assert rows["documented", 1]["way"] == "bf16, checkpointing, sdpa"
    assert not (tmp_path / "models").exists()
    again = pod.run(*argv, PYTHONPATH="")
    assert json.loads(again.splitlines()[-1]) == found
