"""Where diffusion-pipe is, and how it is started."""

import socket
from pathlib import Path

import pytest

from musabi.engines.diffusion_pipe.job import PipeJob
from musabi.engines.diffusion_pipe.places import PipePlaces
from musabi.engines.diffusion_pipe.states import State
from musabi.engines.diffusion_pipe.trainer import (
    command,
    devices,
    environment,
    find_trainer,
    held_port,
    require_configs,
)
from musabi.errors import MachineError
from musabi.workspace import Workspace
from peers.standin_diffusion_pipe import COMMIT


def a_job(kind: str = "flux", key: str = "diffusers_path", gpus: int = 1) -> PipeJob:
    return PipeJob.model_validate(
        {
            "model_type": kind,
            "type": kind,
            "model": {key: "/weights/x"},
            "adapter": {"rank": 4},
            "optimizer": {},
            "directories": [("/pictures", 1)],
            "output_name": "lora",
            "epochs": 1,
            "save_every_n_epochs": 1,
            "gpus": gpus,
        }
    )


def test_a_checkout_with_all_its_parts_is_found(checkout: Path) -> None:
    trainer = find_trainer(checkout)
    assert trainer.commit == COMMIT and trainer.torch == "2.9.1+cu128"


@pytest.mark.parametrize(
    ("gone", "named"),
    [
        ("train.py", "diffusion-pipe is not in"),
        ("submodules/ComfyUI/comfy", "submodules/ComfyUI"),
        ("submodules/HunyuanVideo/hyvideo", "submodules/HunyuanVideo"),
        (".venv/bin/deepspeed", "Python environment"),
        (".venv/bin/python", "Python environment"),
        (".venv/musabi-diffusion-pipe.json", "Python environment"),
    ],
)
def test_a_missing_part_is_named_with_its_mend(checkout: Path, gone: str, named: str) -> None:
    path = checkout / gone
    path.rmdir() if path.is_dir() else path.unlink()
    with pytest.raises(MachineError, match=named) as problem:
        find_trainer(checkout)
    assert "musabi bootstrap --engine diffusion_pipe" in str(problem.value)


def test_the_command_tells_the_port_to_launcher_and_trainer_and_names_the_state(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    state = State(Path("/out/20260901_10-00-00"), 40)
    argv = command(find_trainer(checkout), a_job(), Path("/job.toml"), state, 31234)
    assert argv[0] == str(checkout / ".venv" / "bin" / "deepspeed")
    assert argv[1:] == (
        *("--num_gpus", "1", "--master_port", "31234"),
        *("train.py", "--deepspeed", "--config", "/job.toml", "--master_port", "31234"),
        *("--resume_from_checkpoint", "20260901_10-00-00"),
    )


def test_the_gpus_that_a_job_may_see_are_named_to_the_launcher() -> None:
    assert devices(1, None) == ("--num_gpus", "1")
    assert devices(1, "3") == ("--include", "localhost:3")
    assert devices(2, "3, 5, 7") == ("--include", "localhost:3,5")
    with pytest.raises(MachineError, match="numbers"):
        devices(1, "GPU-1234")
    with pytest.raises(MachineError, match="asks for 2"):
        devices(2, "3")


def test_the_trainer_sees_no_secret_and_its_own_programs_first(checkout: Path) -> None:
    places = PipePlaces(Workspace(Path("/job/workspace")))
    given = {"PATH": "/usr/bin", "HF_TOKEN": "hf_secret", "HF_HOME": "/cache", "PYTHONPATH": "/musabi"}
    made = environment(find_trainer(checkout), places, given)
    assert "HF_TOKEN" not in made and "PYTHONPATH" not in made and made["HF_HOME"] == "/cache"
    assert made["PATH"] == f"{checkout}/.venv/bin:/usr/bin"
    assert made["NCCL_P2P_DISABLE"] == made["NCCL_IB_DISABLE"] == "1"


def test_ports_held_at_the_same_time_differ_and_can_be_listened_on() -> None:
    with held_port() as one, held_port() as other:
        assert one != other
        with socket.socket() as store:
            store.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            store.bind(("", one))
            store.listen()


def test_sdxl_offline_wants_its_configuration_in_the_cache(tmp_path: Path) -> None:
    job = a_job("sdxl", "checkpoint_path")
    offline = {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    with pytest.raises(MachineError, match="stable-diffusion-xl-base"):
        require_configs(job, offline)
    require_configs(job, {"HF_HOME": str(tmp_path)})
    require_configs(a_job(), offline)
    snapshot = tmp_path / "hub" / "models--stabilityai--stable-diffusion-xl-base-1.0" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot / "model_index.json").write_text("{}")
    require_configs(job, offline)
