"""`./demo.sh` in a clean clone: what it makes, and that a second run makes nothing twice."""

import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from musabi.job.lora_file import read_lora

ROOT = Path(__file__).parents[1]
OURS = ("WORKSPACE", "ENGINE", "HF_HOME", "OUTPUT_NAME", "VIRTUAL_ENV")


def run_demo(clone: Path) -> tuple[float, str]:
    environment = {name: value for name, value in os.environ.items() if name not in OURS}
    # pip, which reads this the wrong way round, compiles nothing: Python does for the few modules that are imported.
    environment["PIP_NO_COMPILE"] = "0"
    begun = time.monotonic()
    done = subprocess.run(
        ["./demo.sh"], cwd=clone, env=environment, capture_output=True, text=True, timeout=1200, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return time.monotonic() - begun, done.stdout


@pytest.mark.slow
@pytest.mark.minutes
@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="this is no clone, so nothing can be cloned from it")
def test_the_demo_goes_from_a_clean_clone_to_a_lora_and_does_nothing_twice(tmp_path: Path) -> None:
    clone = tmp_path / "a clone"
    subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
    first, printed = run_demo(clone)
    output = clone / ".demo" / "output"
    assert read_lora(output / "demo.safetensors").keys == "native"
    assert read_lora(output / "comfyui" / "demo.safetensors").keys == "comfyui"
    assert list((output / "sample").glob("*.png"))
    assert list((clone / ".demo" / "logs").rglob("*tfevents*"))
    assert (output / "demo-report.html").exists()
    losses = [float(loss) for loss in re.findall(r"loss on fixed noise: ([\d.]+)", printed)]
    assert losses[-1] < 0.9 * losses[0]
    assert "demo.safetensors" in printed.split("What was made:")[1]

    made = {
        path: path.stat().st_mtime for path in output.rglob("*") if path.suffix in (".png", ".safetensors")
    }
    second, _ = run_demo(clone)
    assert made == {path: path.stat().st_mtime for path in made}
    assert second < first / 2
    status = subprocess.run(
        ["git", "status", "--short"], cwd=clone, capture_output=True, text=True, check=True
    )
    assert status.stdout == ""
    shutil.rmtree(clone)
