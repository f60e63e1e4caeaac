"""A workspace that the product's own wrappers made, with the real musubi-tuner and a small model.

Runs where MUSUBI_SRC names a checkout of musubi-tuner v0.3.4. The first fixture installs its environment,
torch's CPU build included: some minutes where nothing is cached. MUSUBI_STATE names a folder to keep that
environment in from run to run.
"""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from musabi.engines.diffusers.demo_data import draw_dataset
from musabi.workspace import Workspace

ROOT = Path(__file__).parents[2]
TORCH, TORCHVISION = "2.13.0", "0.28.0"
DATASET = """\
[general]
resolution = [64, 64]
caption_extension = ".txt"
batch_size = 2
enable_bucket = true

[[datasets]]
image_directory = "{space.images}"
cache_directory = "{space.cache}"
"""
PROMPTS = "a blue robot --w 64 --h 64 --s 2 --l 1 --d 7\n"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = [item for item in items if Path(item.fspath).is_relative_to(Path(__file__).parent)]
    for item in here:
        item.add_marker(pytest.mark.slow)
        if "MUSUBI_SRC" not in os.environ:
            item.add_marker(pytest.mark.skip(reason="MUSUBI_SRC names no checkout of musubi-tuner"))


@dataclass(frozen=True)
class Pod:
    """A workspace and the environment that its wrappers run in."""

    space: Workspace
    environment: dict[str, str]

    @property
    def python(self) -> Path:
        return self.space.checkout / ".venv" / "bin" / "python"

    def run(self, *argv: str, code: int = 0, **variables: str) -> str:
        """Run a wrapper of the checkout (or a program); return what it printed."""
        program = [str(ROOT / argv[0]) if argv[0].endswith(".sh") else argv[0], *argv[1:]]
        done = subprocess.run(
            program,
            env=self.environment | variables,
            cwd=self.space.root,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=1800,
        )
        assert done.returncode == code, done.stdout[-6000:] + self.last_log()
        return done.stdout

    def last_log(self) -> str:
        """Return the end of the newest run's log, for a failing test."""
        logs = sorted(self.space.runs.glob("*/log.txt"), key=lambda path: path.stat().st_mtime)
        return logs[-1].read_text(encoding="utf-8")[-6000:] if logs else ""


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A git repository that holds the checkout's files, tagged as the product asks for it."""
    copy = tmp_path_factory.mktemp("source") / "musubi-tuner"
    ignored = shutil.ignore_patterns(".git", "__pycache__", ".venv", "*.egg-info")
    shutil.copytree(os.environ["MUSUBI_SRC"], copy, ignore=ignored)
    identity = ("-c", "user.name=test", "-c", "user.email=test@localhost")
    for argv in (
        ("init", "-q"),
        ("add", "-A", "-f"),
        (*identity, "commit", "-q", "-m", "v0.3.4"),
        ("tag", "v0.3.4"),
    ):
        subprocess.run(["git", *argv], cwd=copy, check=True, capture_output=True)
    return copy


@pytest.fixture(scope="session")
def pod(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Pod:
    """The workspace after musabi bootstrap, with a small model and six drawn pictures."""
    root = tmp_path_factory.mktemp("pod")
    state = Path(os.environ.get("MUSUBI_STATE", str(root / "state")))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")} | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "WORKSPACE": str(root),
        "HF_HOME": str(root / ".cache" / "huggingface"),
        "MUSABI_STATE_DIR": str(state),
        "MUSUBI_REPO_URL": str(repository),
        "MUSUBI_PYTHON": f"{sys.version_info.major}.{sys.version_info.minor}",
        "MUSUBI_CUDA_EXTRA": "cpu",
        "MUSUBI_TORCH_VERSION": TORCH,
        "MUSUBI_TORCHVISION_VERSION": TORCHVISION,
        "SKIP_MODEL_DOWNLOAD": "1",
        "ENABLE_FP8_LLM": "0",
        "NETWORK_DIM": "4",
        "NETWORK_ALPHA": "2",
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(Path(__file__).parent / "patches"),
        "MUSABI_TINY_SIZES": str(root / "models" / "tiny.json"),
    }
    if "PIP_FIND_LINKS" in os.environ:  # uv reads its own variable only
        environment.setdefault("UV_FIND_LINKS", os.environ["PIP_FIND_LINKS"])
    made = Pod(Workspace(root), environment)
    made.run("bootstrap.sh")
    made.run("musabi.sh", "models", "make-tiny", PYTHONPATH="")
    draw_dataset(made.space.images, seed=1, count=6, side=64)
    made.space.dataset_config.write_text(DATASET.format(space=made.space), encoding="utf-8")
    made.space.sample_prompts.write_text(PROMPTS, encoding="utf-8")
    return made


@pytest.fixture(scope="session")
def prepared(pod: Pod) -> Pod:
    """The workspace with its caches made."""
    pod.run("prepare_dataset.sh")
    return pod


@pytest.fixture(scope="session")
def trained(prepared: Pod) -> Pod:
    """The workspace after three steps with Prodigy."""
    prepared.run(
        "train_lora_prodigy.sh", OUTPUT_NAME="three", MAX_TRAIN_EPOCHS="1", SAMPLE_EVERY_N_EPOCHS="1"
    )
    return prepared
