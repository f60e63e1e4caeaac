"""The target `serverless`: a worker of Runpod Serverless, with musubi-tuner in the image."""

import subprocess
from pathlib import Path

import pytest

from image.store import Store
from image.test_full import build_arguments
from image.world import standing_in
from musabi.serverless.settings import load

pytestmark = [pytest.mark.full, pytest.mark.xdist_group("image")]


@pytest.fixture(scope="module")
def serverless(store: Store, context: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    with standing_in(None) as world:
        uv = world.write_uv_configuration(tmp_path_factory.mktemp("uv") / "uv.toml")
        arguments = build_arguments(world.repository)
        return store.build(context, "serverless", arguments, {uv: "/etc/uv/uv.toml"})


def test_the_worker_is_what_the_image_runs_and_it_opens_nothing(store: Store, serverless: str) -> None:
    config = store.config(serverless)
    assert config["Entrypoint"] == ["/opt/musabi/venv/bin/python", "-P", "-m", "musabi"]
    assert config["Cmd"] == ["worker"]
    assert not config.get("ExposedPorts")
    assert not config.get("Healthcheck")
    environment = dict(row.split("=", 1) for row in config["Env"])
    assert environment["MUSABI_IMAGE"].startswith("serverless")
    assert [name for name in environment if "TOKEN" in name or "PASSWORD" in name or "KEY" in name] == []


def test_the_worker_holds_the_sdk_and_the_trainer_and_no_jupyterlab(store: Store, serverless: str) -> None:
    with store.mounted(serverless) as root:
        assert (root / "opt/musabi/musubi-tuner/pyproject.toml").is_file()
        assert (root / "opt/musabi/musubi-tuner/.venv").readlink() == Path("/opt/musabi/state/venv")
        assert list((root / "opt/musabi/state/diffusion-pipe-venv").iterdir()) == []
        assert list((root / "opt/musabi/diffusion-pipe").iterdir()) == []
        code = (
            "import importlib.util as found, runpod, boto3, av; import musabi.serverless.work; "
            "print(found.find_spec('jupyterlab'))"
        )
        done = in_image(root, "/opt/musabi/venv/bin/python", "-P", "-c", code)
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == "None"
        done = in_image(root, "/usr/local/bin/musabi", "worker", "--help")
        assert done.returncode == 0 and "Serverless" in done.stdout, done.stderr


def test_a_job_takes_the_images_trainer_as_it_lies_and_needs_none_to_be_installed(
    store: Store, serverless: str
) -> None:
    environment = dict(row.split("=", 1) for row in store.config(serverless)["Env"])
    assert not load(environment).endpoint_install_trainers
    code = (
        "from pathlib import Path; from musabi.serverless.places import Places; "
        "from musabi.serverless.trainers import is_in_image, link_from_image; "
        "link_from_image(Places(Path('/runpod-volume/musabi'))); "
        "print(is_in_image('musubi'), is_in_image('diffusion_pipe'))"
    )
    with store.mounted(serverless) as root:
        (root / "runpod-volume").mkdir()
        done = in_image(root, "/opt/musabi/venv/bin/python", "-P", "-c", code)
        assert done.stdout.split() == ["True", "False"], done.stderr
        assert [path.name for path in (root / "runpod-volume/musabi").iterdir()] == ["musubi-tuner"]
        python = "/runpod-volume/musabi/musubi-tuner/.venv/bin/python"
        done = in_image(root, python, "-c", "import torch, musubi_tuner; print(musubi_tuner.__path__[0])")
        assert done.returncode == 0, done.stderr
        place = root / done.stdout.strip().lstrip("/")
        assert place.parts[-3:] == ("musubi-tuner", "src", "musubi_tuner")


def in_image(root: Path, *argv: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["chroot", str(root), *argv], capture_output=True, text=True, timeout=120, check=False
    )
