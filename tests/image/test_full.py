"""The target `full`: musubi-tuner and its environment are in the image, so that a first boot fetches neither."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from image.container import Container
from image.store import Store
from image.world import PYTHON, standing_in
from musabi.pod.bootstrap.state import bootstrap_status
from musabi.workspace import Workspace
from peers.standin_trainer import make_wheel

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("image")]

OFFLINE = {"SKIP_MODEL_DOWNLOAD": "1", "UV_OFFLINE": "1"}


def build_arguments(repository: str, torch: str = "2.9.1") -> dict[str, str]:
    return {
        "MUSUBI_REPO_URL": repository,
        "MUSUBI_PYTHON": PYTHON,
        "MUSUBI_CUDA_EXTRA": "cpu",
        "MUSUBI_TORCH_VERSION": torch,
    }


@pytest.fixture(scope="module")
def full(store: Store, context: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    with standing_in(None) as world:
        uv = world.write_uv_configuration(tmp_path_factory.mktemp("uv") / "uv.toml")
        return store.build(context, "full", build_arguments(world.repository), {uv: "/etc/uv/uv.toml"})


def test_the_full_image_holds_the_trainer_and_an_empty_workspace(store: Store, full: str) -> None:
    with store.mounted(full) as root:
        assert (root / "opt/musabi/musubi-tuner/pyproject.toml").is_file()
        assert (root / "opt/musabi/state/venv/bin/python").is_symlink()
        assert list((root / "workspace").iterdir()) == []
        assert not (root / "baked").exists()
        assert list((root / "tmp").iterdir()) == []
        done = json.loads((root / "opt/musabi/state/bootstrap.json").read_text())["done"]
        assert {"environment", "packages"} <= done.keys()
    environment = dict(row.split("=", 1) for row in store.config(full)["Env"])
    assert environment["MUSUBI_CUDA_EXTRA"] == "cpu"
    assert environment["MUSABI_IMAGE"].startswith("full")


def test_the_full_image_has_its_large_layers_below_the_code(store: Store, full: str, slim: str) -> None:
    ours, theirs = store.layers(full), store.layers(slim)
    assert ours[: len(theirs) - 1] == theirs[:-1]
    *_, trainer, state, checkout, code = store.layer_folders(full)
    assert (trainer / "opt/musabi/state/venv").is_dir()
    assert (state / "opt/musabi/state/bootstrap.json").is_file()
    assert (checkout / "opt/musabi/musubi-tuner").is_dir()
    assert (code / "opt/musabi/src/musabi").is_dir()


def test_the_first_boot_of_the_full_image_needs_no_network(
    boot: Callable[..., Container], full: str, volume: Path
) -> None:
    pod = boot(image=full, **OFFLINE)

    def ended() -> dict[str, Any] | None:
        status = bootstrap_status(Workspace(volume))
        return status if status and status["state"] != "running" else None

    status = pod.wait(ended, 60)
    states = {name: stage["state"] for name, stage in status["stages"].items()}
    assert status["state"] == "done", status
    assert states["environment"] == states["packages"] == "skipped"
    python = "/workspace/musubi-tuner/.venv/bin/python"
    asked = pod.exec(
        python, "-c", "import torch, musubi_tuner; print(torch.__version__, musubi_tuner.__file__)"
    )
    assert asked.stdout.split() == ["2.9.1+cpu", "/workspace/musubi-tuner/src/musubi_tuner/__init__.py"]

    # With a GPU another wheel is wanted, so this stage's hash is another: what is there is not installed again.
    remembered = pod.path("/opt/musabi/state/bootstrap.json")
    values = json.loads(remembered.read_text())
    made = values["done"]["environment"]["facts"]["built"]
    values["done"]["packages"]["hash"] = "with a GPU"
    remembered.write_text(json.dumps(values))
    again = pod.exec("musabi", "bootstrap")
    assert again.returncode == 0, again.stdout + again.stderr
    after = json.loads(remembered.read_text())["done"]
    assert after["environment"]["facts"]["built"] == made
    assert after["packages"]["facts"] == values["done"]["packages"]["facts"]


def test_the_build_fails_where_torch_is_not_the_one_pinned(
    store: Store, context: Path, tmp_path: Path
) -> None:
    with standing_in(None) as world:
        uv = world.write_uv_configuration(tmp_path / "uv.toml")
        arguments = build_arguments(world.repository)
        # Its file name and its metadata are as pinned.
        place = world.index_folder / "torch/torch"
        make_wheel(place, "torch", "2.9.1+cpu", "torch", "__version__ = '2.10.0'\n")
        with pytest.raises(AssertionError, match=r"torch is pinned to 2\.9\.1, but 2\.10\.0 imports"):
            store.build(context, "full", arguments, {uv: "/etc/uv/uv.toml"})
