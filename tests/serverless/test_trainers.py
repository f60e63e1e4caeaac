"""Where a job's trainer comes from: the root, the image, an installation that is allowed, or a refusal at once."""

import os
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from musabi.engines.musubi.environment import write_trainer_facts
from musabi.errors import MachineError
from musabi.pod.bootstrap.stages.clone import OWN_COMMIT
from musabi.serverless import trainers
from musabi.serverless.context import Context
from musabi.serverless.course import Course
from musabi.serverless.delivery.updates import Updates
from musabi.serverless.job_folder import JobFolder
from musabi.serverless.parts import EngineChoice
from musabi.serverless.phases.trainer_ready import bootstrap_environment, require_trainer
from musabi.serverless.places import Places
from musabi.serverless.settings import EndpointSettings
from musabi.serverless.worker.fitness import trainer_is_there
from peers.standin_diffusion_pipe import COMMIT, write_checkout

SDXL = EngineChoice("diffusion_pipe", "sdxl", "SDXL", "for a test")
ENGINES = ("musubi", "diffusion_pipe")


@pytest.fixture
def image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An image's folder in which no trainer is; `put` puts one there."""
    folder = tmp_path / "opt"
    places = {"musubi": folder / "musubi-tuner", "diffusion_pipe": folder / "diffusion-pipe"}
    for place in places.values():
        place.mkdir(parents=True)
    monkeypatch.setattr(trainers, "IN_IMAGE", places)
    return folder


def put(engine: str, checkout: Path, commit: str = COMMIT) -> None:
    """Put a made environment into a checkout."""
    (checkout / OWN_COMMIT).parent.mkdir(parents=True, exist_ok=True)
    (checkout / OWN_COMMIT).write_text(commit)
    if engine == "diffusion_pipe":
        write_checkout(checkout)
        return
    python = checkout / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    write_trainer_facts(
        checkout / ".venv",
        python="3.12",
        torch="2.9.1",
        torchvision="0.24.1",
        commit=COMMIT,
        packages=(),
        flash_attn=False,
    )


@pytest.mark.parametrize("engine", ENGINES)
def test_the_images_trainer_is_used_where_it_lies(image: Path, tmp_path: Path, engine: str) -> None:
    places = Places(tmp_path / "root")
    trainers.link_from_image(places)
    assert not (tmp_path / "root").exists(), "an empty folder of the image is no trainer"
    put(engine, trainers.IN_IMAGE[engine])
    for _ in range(2):
        trainers.link_from_image(places)
    link = trainers.checkout_of(engine, places)
    assert link.readlink() == trainers.IN_IMAGE[engine]
    assert trainers.is_ready(engine, link)
    assert [path.name for path in places.root.iterdir()] == [link.name]


@pytest.mark.parametrize("engine", ENGINES)
def test_an_environment_that_a_pod_made_for_another_version_is_not_taken_for_the_images(
    image: Path, engine: str
) -> None:
    put(engine, trainers.IN_IMAGE[engine], commit="0" * 40)
    assert not trainers.is_in_image(engine)


def test_what_lies_in_the_root_is_left_and_a_link_that_leads_nowhere_is_not(
    image: Path, tmp_path: Path
) -> None:
    places = Places(tmp_path / "root")
    for engine in ENGINES:
        put(engine, trainers.IN_IMAGE[engine])
    places.checkout.mkdir(parents=True)
    places.diffusion_pipe.symlink_to(tmp_path / "gone")
    trainers.link_from_image(places)
    assert not places.checkout.is_symlink()
    assert places.diffusion_pipe.readlink() == trainers.IN_IMAGE["diffusion_pipe"]


def test_a_link_to_the_image_makes_room_for_a_trainer_and_another_does_not(
    image: Path, tmp_path: Path
) -> None:
    places = Places(tmp_path)
    places.checkout.symlink_to(trainers.IN_IMAGE["musubi"])
    places.diffusion_pipe.symlink_to(tmp_path / "own")
    for engine in ENGINES:
        trainers.unlink_from_image(engine, places)
    assert not places.checkout.is_symlink() and places.diffusion_pipe.is_symlink()


def test_a_worker_is_fit_with_the_images_trainer_and_not_with_half_of_one(
    image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    places = Places(tmp_path / "root")
    put("musubi", trainers.IN_IMAGE["musubi"])
    trainer_is_there(places, {})
    (trainers.IN_IMAGE["musubi"] / ".venv" / "bin" / "python").unlink()
    with pytest.raises(MachineError, match="no trainer here"):
        trainer_is_there(places, {})


def test_without_its_trainer_a_job_is_refused_at_once_where_nothing_may_be_installed(
    image: Path, tmp_path: Path
) -> None:
    folder = JobFolder(tmp_path / "jobs" / "one")
    request = {
        "model_type": "sdxl",
        "dataset": {"type": "images", "images_url": "https://files.example/a.zip"},
        "output": {"method": "volume"},
    }
    folder.make("one", request)
    environ = {"WORKSPACE": str(tmp_path), "PATH": os.environ["PATH"], "ENDPOINT_INSTALL_TRAINERS": "0"}
    assert Course(folder, {}, environ, threading.Event()).run() == 0
    answer = folder.result() or {}
    assert answer["status"] == "failed"
    for words in ("SDXL needs diffusion-pipe", "serverless-diffusion-pipe", "ENDPOINT_INSTALL_TRAINERS=1"):
        assert words in answer["error"]
    assert folder.phases() == {} and not folder.dataset.exists()


def test_where_it_may_be_installed_the_job_goes_on(context: Context, image: Path) -> None:
    require_trainer(context)
    with pytest.raises(MachineError, match="ENDPOINT_INSTALL_TRAINERS=1"):
        require_trainer(replace(context, settings=EndpointSettings(endpoint_install_trainers=False)))
    write_checkout(context.places.diffusion_pipe)
    require_trainer(replace(context, settings=EndpointSettings(endpoint_install_trainers=False)))


def test_an_environment_that_is_installed_lies_on_the_volume_where_there_is_one(
    context: Context, tmp_path: Path
) -> None:
    own = bootstrap_environment(context)
    assert own["WORKSPACE"] == str(context.places.root) and own["MUSABI_STATE_DIR"] == "/the/machines"
    volume = tmp_path / "runpod-volume"
    on_volume = replace(context, places=Places(volume / "musabi", volume))
    for name in ("MUSABI_STATE_DIR", "UV_PYTHON_INSTALL_DIR"):
        assert Path(bootstrap_environment(on_volume)[name]).is_relative_to(volume / "musabi" / "trainers")


@pytest.fixture
def context(tmp_path: Path) -> Context:
    """A job for SDXL on an endpoint with the usual settings."""
    folder = JobFolder(tmp_path / "job")
    return Context(
        folder=folder,
        job_id="one",
        request=None,  # type: ignore[arg-type]
        choice=SDXL,
        secrets={},
        environ={"MUSABI_STATE_DIR": "/the/machines"},
        settings=EndpointSettings(),
        places=Places(tmp_path / "root"),
        updates=Updates(folder, print),
        stop=threading.Event(),
        say=print,
    )
