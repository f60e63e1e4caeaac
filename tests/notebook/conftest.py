"""A demo workspace for the notebook, with a small model and drawn images."""

import json
import os
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from small.model import PROMPT, SMALL, TOML, draw_images

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "notebooks" / "00_musubi_tuner_runpod.ipynb"
OURS = ("WORKSPACE", "HF_HOME", "MUSABI_STATE_DIR", "HF_TOKEN")

if find_spec("nbclient") is None or find_spec("ipykernel") is None:  # the extras [dev] and [pod]
    collect_ignore_glob = ["test_notebook*.py"]


@pytest.fixture
def workspace(tmp_path: Path, tiny_models: Path) -> Path:
    """A workspace with the small model and five pictures."""
    root = tmp_path / "ws"
    fill(root, tiny_models, root)
    return root


def fill(root: Path, tiny: Path, called: Path) -> None:
    """Lay a workspace out in `root`, which is `called` so where the notebook runs."""
    if not (root / "dataset" / "images").is_dir() or not any((root / "dataset" / "images").iterdir()):
        shutil.rmtree(root / "dataset" / "images", ignore_errors=True)
        draw_images(root / "dataset" / "images")
    shutil.copytree(tiny / "models", root / "models", dirs_exist_ok=True)
    shutil.copytree(tiny / "hf", root / ".cache" / "huggingface", dirs_exist_ok=True)
    dataset = called / "dataset"
    toml = TOML.format(images=dataset / "images", cache=dataset / "cache")
    (root / "dataset" / "dataset.toml").write_text(toml)
    (root / "dataset" / "sample_prompts.txt").write_text(PROMPT)
    (root / "notebooks").mkdir(exist_ok=True)
    shutil.copyfile(NOTEBOOK, root / "notebooks" / NOTEBOOK.name)


@pytest.fixture(name="lay_out")
def lay_out_fixture() -> Callable[[Path, Path, Path], None]:
    """Lay a workspace out: `lay_out(root, tiny_models, where the notebook finds it)`."""
    return fill


@pytest.fixture
def pod_environment(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The environment that a kernel of the workspace starts with; this process has it too."""
    given = SMALL | {
        "WORKSPACE": str(workspace),
        "HF_HOME": str(workspace / ".cache" / "huggingface"),
        "MUSABI_STATE_DIR": str(workspace.parent / "state"),
        "JUPYTER_RUNTIME_DIR": str(workspace.parent / "runtime"),
        "IPYTHONDIR": str(workspace.parent / "ipython"),
    }
    for name in OURS:
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    return dict(os.environ)


@pytest.fixture
def newest_record(workspace: Path) -> Callable[[], dict[str, Any]]:
    """Read the record of the newest run of the workspace."""

    def read() -> dict[str, Any]:
        records = sorted(workspace.glob("runs/*/record.json"), key=lambda path: path.stat().st_mtime)
        return dict(json.loads(records[-1].read_text())) if records else {}

    return read
