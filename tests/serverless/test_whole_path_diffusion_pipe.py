"""From an HTTP request to files in the hub for SDXL, which diffusion-pipe alone trains; a stand-in takes its place."""

import json
import os
import signal
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load

from musabi.serverless.attempt import processes_of
from musabi.serverless.job_folder import JobFolder
from musabi.serverless.models.sources import PIPE_SETS
from peers.installers import Installers
from peers.loopback_files import LoopbackFiles
from peers.loopback_hub_uploads import UploadHub
from peers.model_files import safetensors
from peers.standin_diffusion_pipe import write_checkout
from serverless.conftest import KEY, TOKEN, Endpoint

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("endpoint")]

LORA = "adapter_model.safetensors"
EPOCHS = 3
MANY_EPOCHS = 36


@pytest.fixture(scope="module")
def endpoint(
    tmp_path_factory: pytest.TempPathFactory, hub: UploadHub, files: LoopbackFiles, installers: Installers
) -> Iterator[Endpoint]:
    """A server at work, with the stand-in where diffusion-pipe would be, and made-up weights of SDXL."""
    root = tmp_path_factory.mktemp("pipe-endpoint") / "root"
    home = root / "endpoint"
    write_checkout(home / "diffusion-pipe")
    put_weights(home)
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    made = Endpoint(
        root,
        kept
        | installers.before(kept["PATH"])
        | {
            "WORKSPACE": str(root),
            "ENDPOINT_ROOT": str(home),
            "MUSABI_STATE_DIR": str(root / "state"),
            "MUSABI_API_KEY": KEY,
            "HF_ENDPOINT": hub.url,
            "HF_HUB_DISABLE_XET": "1",
            "MUSABI_TEST_HOSTS": json.dumps({"files.example": files.url}),
            "STANDIN_STEP_SECONDS": "0.05",
            "ENDPOINT_INSTALL_TRAINERS": "0",
        },
    )
    made.start()
    yield made
    made.signal(signal.SIGTERM)


def put_weights(home: Path) -> None:
    """Put SDXL's files where an endpoint that fetched them has them."""
    configs, checkpoint = PIPE_SETS["sdxl"]
    (home / "models" / checkpoint.unit).mkdir(parents=True)
    (home / "models" / checkpoint.unit / Path(checkpoint.must[0]).name).write_bytes(safetensors(1000, 1))
    repo = home / "cache" / "huggingface" / "hub" / configs.unit
    for name in configs.must:
        place = repo / "snapshots" / "c0ffee" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("{}")
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text("c0ffee")


def asked(repo: str, epochs: int) -> dict[str, Any]:
    return {
        "input": {
            "model_type": "sdxl",
            "dataset": {
                "type": "precaptioned",
                "images_url": "https://files.example/photos.zip",
                "trigger_word": "ohwx",
            },
            "training": {
                "epochs": epochs,
                "lora_rank": 8,
                "resolution": 64,
                "batch_size": 2,
                "gradient_accumulation_steps": 1,
                "save_every_n_epochs": 2,
                "min_snr_gamma": 5.0,
            },
            "output": {
                "method": "huggingface",
                "huggingface": {"token": TOKEN, "repo_id": repo, "private": True},
            },
        }
    }


def log_of_trainer(folder: Path) -> str:
    return "".join(path.read_text() for path in sorted(folder.glob("workspace/runs/*/log.txt")))


def test_a_request_for_sdxl_becomes_a_lora_in_the_hub_and_starts_no_installer(
    endpoint: Endpoint, hub: UploadHub, installers: Installers
) -> None:
    job = endpoint.run(asked("tester/sdxl", EPOCHS))
    status = endpoint.result(job)
    folder = endpoint.folder(job)
    assert status["status"] == "COMPLETED", (status, endpoint.log(job), log_of_trainer(folder))
    answer = status["output"]
    assert (answer["engine"], answer["epochs_completed"]) == ("diffusion_pipe", EPOCHS)

    told = tomllib.loads((folder / "workspace" / "diffusion_pipe" / "job.toml").read_text())
    assert told["model"]["type"] == "sdxl" and told["model"]["min_snr_gamma"] == 5.0
    assert Path(told["model"]["checkpoint_path"]).is_file()

    there = hub.repos["tester/sdxl"].files
    tensors = load(there[LORA])
    assert tensors and all(name.startswith("lora_unet_") for name in tensors)
    assert json.loads(there["adapter_config.json"])["r"] == 8
    updates = [json.loads(there[name])["status"] for name in sorted(there) if name.startswith("UPDATES/")]
    assert updates[-1] == "COMPLETE" and {"STARTING", "TRAINING", "TRAINING_COMPLETE"} <= set(updates)

    assert installers.started == []
    hidden = [path for path in endpoint.root.rglob("*") if path.is_file() and not path.is_symlink()]
    assert [path for path in hidden if TOKEN.encode() in path.read_bytes()] == []


def test_a_cancelled_training_of_sdxl_goes_on_from_the_step_where_it_was(
    endpoint: Endpoint, hub: UploadHub
) -> None:
    job = endpoint.run(asked("tester/sdxl-again", MANY_EPOCHS))
    folder = endpoint.folder(job)
    endpoint.until(job, lambda status: (status.get("output") or {}).get("step", 0) >= 4)
    endpoint.ask("POST", f"/cancel/{job}")
    endpoint.until(job, lambda status: "output" in status and "error" in (status["output"] or {}))
    assert endpoint.status(job)["status"] == "CANCELLED"
    assert "The newest state is of step" in endpoint.status(job)["error"]
    assert list(processes_of(JobFolder(folder))) == []

    endpoint.ask("POST", f"/retry/{job}")
    status = endpoint.result(job)
    assert status["status"] == "COMPLETED", (status, endpoint.log(job), log_of_trainer(folder))
    assert status["output"]["epochs_completed"] == MANY_EPOCHS
    assert "Resuming training from checkpoint" in log_of_trainer(folder)
    steps = [line.split()[1] for line in log_of_trainer(folder).splitlines() if line.startswith("steps: ")]
    assert len(steps) == len(set(steps)) == status["output"]["steps"]
    assert LORA in hub.repos["tester/sdxl-again"].files
