"""diffusion-pipe's checkout and environment: made once, proven after that, and believed when whole only."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from musabi.engines.diffusion_pipe.trainer import find_trainer
from musabi.errors import MachineError
from musabi.pod.bootstrap import options
from musabi.pod.bootstrap.stages import diffusion_pipe
from peers.standin_diffusion_pipe import make_packages, make_repository
from peers.standin_trainer import serving

PROFILE = "diffusion_pipe"


@pytest.fixture
def pipe(pod: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A pod whose diffusion-pipe is the stand-in's repository and packages."""
    url, commit = make_repository(tmp_path / "repositories")
    folder = tmp_path / "pipe-indexes"
    make_packages(folder)
    with serving(folder) as index:
        monkeypatch.setattr(options, "PYTORCH_INDEX", index)
        monkeypatch.setattr(diffusion_pipe, "PYTHON", pod.options.musubi_python)
        allow = {
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "protocol.file.allow",
            "GIT_CONFIG_VALUE_0": "always",
        }
        pod.options = replace(
            pod.options,
            diffusion_pipe_repo_url=url,
            diffusion_pipe_ref=commit,
            diffusion_pipe_packages_of="",  # a plain file server tells no upload times
            environment={**pod.options.environment, **allow, "UV_DEFAULT_INDEX": f"{index}/packages"},
        )
        pod.packages = folder
        yield pod


def checkout(pod: Any) -> Path:
    return diffusion_pipe.checkout_of(pod.options)


@pytest.mark.slow
def test_it_is_fetched_and_installed_once_for_each_container_and_proven_after_that(pipe: Any) -> None:
    make_packages(pipe.packages, broken="bitsandbytes")
    assert pipe.run(PROFILE) == 0, pipe.last_words
    trainer = find_trainer(checkout(pipe))
    assert trainer.commit == pipe.options.diffusion_pipe_ref and trainer.torch == "2.9.1+cu128"
    assert (checkout(pipe) / "submodules" / "HunyuanVideo" / "hyvideo" / "constants.py").is_file()
    assert "not usable here: bitsandbytes" in pipe.log
    assert pipe.run(PROFILE) == 0
    assert set(pipe.states.values()) == {"skipped"}
    assert not pipe.options.space.bootstrap_marker.exists()

    shutil.rmtree(checkout(pipe) / "submodules" / "ComfyUI")
    (checkout(pipe) / ".venv").unlink()
    assert pipe.run(PROFILE) == 0
    assert pipe.states["diffusion-pipe-environment"] == "skipped"
    assert find_trainer(checkout(pipe)) == trainer

    pipe.options = pipe.machine("another-container")
    assert pipe.run(PROFILE) == 0
    assert pipe.states["diffusion-pipe"] == "skipped"
    assert os.path.realpath(checkout(pipe) / ".venv").startswith(str(pipe.options.state_dir))


def test_a_package_that_does_not_import_is_named_and_the_environment_not_believed(pipe: Any) -> None:
    make_packages(pipe.packages, broken="deepspeed")
    assert pipe.run(PROFILE) == 3
    assert "deepspeed" in pipe.last_words and "libcudart" in pipe.last_words
    with pytest.raises(MachineError, match="Python environment"):
        find_trainer(checkout(pipe))


def test_a_ref_that_is_no_commit_is_a_wrong_request(pipe: Any) -> None:
    assert pipe.run(PROFILE, diffusion_pipe_ref="main") == 2
    assert "DIFFUSION_PIPE_REF" in pipe.last_words


def test_a_repository_out_of_reach_leaves_nothing_half_made(pipe: Any, tmp_path: Path) -> None:
    gone = (tmp_path / "gone").as_uri()
    assert pipe.run(PROFILE, diffusion_pipe_repo_url=gone, attempts=1) == 3
    assert "could not be fetched" in pipe.last_words
    assert not list(pipe.root.glob("*diffusion-pipe*"))
