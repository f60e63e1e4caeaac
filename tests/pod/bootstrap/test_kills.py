"""SIGKILL at moments spread over a bootstrap; each time the next one finishes the work.

The moments are shares of the time that an undisturbed bootstrap takes. After each kill the files that have
final names are whole, and the next run ends with everything in place and a run after it has nothing to do.
"""

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

MOMENTS = [(number + 0.5) / 30 for number in range(30)]
FEW = sorted(random.Random(2026).sample(range(30), 5))  # noqa: S311 - which moments CI plays
LIMIT_SECONDS = 90

CODE = """
import json, sys
from dataclasses import fields
from pathlib import Path
from musabi.pod.bootstrap.run import bootstrap
from musabi.pod.bootstrap.options import BootstrapOptions
values = json.loads(sys.argv[1])
paths = {field.name for field in fields(BootstrapOptions) if str(field.type) == str(Path)}
options = BootstrapOptions(**{name: Path(v) if name in paths else v for name, v in values.items()})
sys.exit(bootstrap(options, profile="musubi", json=True))
"""


def start(pod: Any) -> "subprocess.Popen[str]":
    """Start a bootstrap of the pod as a process of its own."""
    names = ("workspace", "musubi_repo_url", "musubi_python", "hf_home", "musabi_state_dir", "source_root")
    values = {name: str(getattr(pod.options, name)) for name in names}
    values |= {"environment": dict(pod.options.environment), "backoff_s": 0.05, "hf_max_workers": 2}
    environment = {**os.environ, "HF_HUB_OFFLINE": "0"}
    return subprocess.Popen(
        [sys.executable, "-c", CODE, json.dumps(values)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
    )


def finish(pod: Any) -> list[dict[str, Any]]:
    """Run a bootstrap to its end and return its JSON lines."""
    process = start(pod)
    out, _ = process.communicate(timeout=LIMIT_SECONDS)
    assert process.returncode == 0, out
    return [json.loads(line) for line in out.splitlines()]


def reset(pod: Any) -> None:
    """Make the pod an empty one again; package and hub caches stay."""
    import shutil

    for folder in (pod.root, pod.options.state_dir):
        shutil.rmtree(folder, ignore_errors=True)


def require_whole(pod: Any) -> None:
    """Check that every file which has its final name has its final content."""
    contents = {}
    for repo in pod.hub.repos.values():
        contents |= {Path(path).name: content for path, content in repo.files.items()}
    for path in (pod.root / "models").glob("*/*.safetensors"):
        assert path.parent.name != ".musabi-staging" and path.read_bytes() == contents[path.name], path
    checkout = pod.options.space.checkout
    if checkout.exists():
        assert (checkout / "pyproject.toml").is_file()
        assert (checkout / "src" / "musubi_tuner" / "convert_lora.py").is_file()
    state = pod.options.space.state / "bootstrap.json"
    assert not state.exists() or json.loads(state.read_text())


def require_done(pod: Any) -> None:
    """Check that all that a bootstrap makes is there, and nothing left over beside it."""
    site = next(pod.options.venv.glob("lib/python*/site-packages"))
    for module in ("torch", "torchvision", "prodigyopt", "standin_dependency"):
        assert (site / module / "__init__.py").is_file()
    for record in site.glob("*.dist-info/RECORD"):
        for row in record.read_text().splitlines():
            assert (site / row.split(",")[0]).exists(), row
    assert len(list((pod.root / "models").glob("*/*.safetensors"))) == 6
    assert (pod.root / ".musubi_bootstrap_done").is_file()
    assert not list(pod.root.glob(".musubi-tuner.*")) and not list(pod.root.glob("musubi-tuner.kept*"))
    assert not list(pod.root.rglob("*.incomplete"))


def play(pod: Any, share: float, whole_s: float) -> None:
    """Kill a fresh bootstrap at a share of its time, finish it, and see that nothing is left to do."""
    reset(pod)
    process = start(pod)
    time.sleep(share * whole_s)
    process.kill()
    process.communicate(timeout=10)
    time.sleep(0.1)
    require_whole(pod)
    template = pod.root / "dataset" / "dataset.toml"
    mine = template.exists()
    if mine:
        template.write_text(f"# mine, killed at {share:.3f}\n")
    finish(pod)
    require_whole(pod)
    require_done(pod)
    assert not mine or template.read_text().startswith("# mine")
    again = {line["stage"] for line in finish(pod) if line.get("state") not in (None, "skipped")}
    assert not again, f"after a kill at {share:.3f} of the time, {again} had to run a third time"


@pytest.fixture
def whole_s(pod: Any) -> float:
    """How long an undisturbed bootstrap takes here, with the weights slowed down to last as long."""
    pod.hub.bytes_per_second = 1_500_000
    finish(pod)
    reset(pod)
    began = time.monotonic()
    finish(pod)
    return time.monotonic() - began


@pytest.mark.slow
def test_a_kill_at_some_moments_leaves_what_the_next_run_finishes(pod: Any, whole_s: float) -> None:
    for number in FEW:
        play(pod, MOMENTS[number], whole_s)


@pytest.mark.slow
@pytest.mark.full
def test_a_kill_at_any_of_thirty_moments_leaves_what_the_next_run_finishes(pod: Any, whole_s: float) -> None:
    for share in MOMENTS:
        play(pod, share, whole_s)


@pytest.mark.slow
def test_children_of_a_killed_bootstrap_end_with_it(pod: Any) -> None:
    pod.hub.bytes_per_second = 20_000
    process = start(pod)
    deadline = time.monotonic() + 30
    while not pod.hub.bodies("ae.safetensors") and time.monotonic() < deadline:
        time.sleep(0.1)
    process.kill()
    process.communicate(timeout=10)
    time.sleep(1.0)
    mine = str(pod.root).encode()
    left = [path for path in Path("/proc").glob("[0-9]*/cmdline") if mine in read(path)]
    assert left == []


def read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
