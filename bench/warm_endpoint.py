"""How soon after a request the trainer's first process starts, on an endpoint that did such a job before.

    python bench/warm_endpoint.py

A real `musabi serve` with the real work: the embedded engine trains a small model on the CPU. Dataset server and
hub are the tests' own, on loopback. One job warms; five more are measured, from the moment before POST /run to
the moment that the run record names for its first step, caching the latents, and then cancelled. Meant to be at
most 2 s.
"""

import io
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from musabi.job.record import newest_run

TESTS = Path(__file__).parents[1] / "tests"
sys.path.insert(0, str(TESTS))

from peers.loopback_files import running_files  # noqa: E402 - found by the line above
from peers.loopback_hub_uploads import running_upload_hub  # noqa: E402
from small.model import draw_images, make_small_model  # noqa: E402

SERVER = TESTS / "peers" / "serve_on_loopback.py"
KEY = "a-key-of-the-benchmark"
TOKEN = "hf_of_the_benchmark"  # noqa: S105 - of a hub on loopback
JOBS = 5
GOAL_SECONDS = 2.0
LIMIT_SECONDS = 300.0
ENDED = frozenset({"COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"})
LOOK_SECONDS = 0.2
REQUEST: dict[str, Any] = {
    "model_type": "z_image",
    "engine": "diffusers",
    "dataset": {
        "type": "precaptioned",
        "images_url": "https://files.example/photos.zip",
        "trigger_word": "ohwx",
    },
    "training": {
        "epochs": 1,
        "lora_rank": 4,
        "resolution": 64,
        "batch_size": 2,
        "gradient_accumulation_steps": 1,
    },
    "output": {
        "method": "huggingface",
        "huggingface": {"token": TOKEN, "repo_id": "tester/robot", "private": True},
    },
}


def main() -> None:
    """Measure, and print what was seen."""
    with tempfile.TemporaryDirectory() as folder:
        print(measure(Path(folder)))


def measure(folder: Path) -> str:
    """Set up an endpoint in an empty folder, measure it and end it; return what was seen in one line."""
    home = folder / "endpoint"
    make_small_model(home / "models", home / "cache" / "huggingface")
    with running_upload_hub() as hub, running_files() as files:
        hub.tokens = {TOKEN: "write"}
        files.add("/photos.zip", photos(folder / "photos"))
        environment = environment_of(folder, hub.url, {"files.example": files.url})
        server = subprocess.Popen(
            [sys.executable, str(SERVER), str(folder)], stdout=subprocess.PIPE, text=True, env=environment
        )
        try:
            assert server.stdout is not None
            found = re.search(r"http://[\d.:]+", server.stdout.readline())
            assert found is not None
            with httpx.Client(
                base_url=found[0], headers={"Authorization": f"Bearer {KEY}"}, timeout=30
            ) as client:
                do_whole(client)
                seconds = [seconds_to_start(client, home / "jobs") for _ in range(JOBS)]
        finally:
            server.terminate()
            server.wait(timeout=60)
    each = ", ".join(f"{one:.2f}" for one in sorted(seconds))
    return (
        f"request to trainer start when warm: median {statistics.median(seconds):.2f} s of {JOBS} ({each}); "
        f"meant to be at most {GOAL_SECONDS:.0f} s"
    )


def photos(folder: Path) -> bytes:
    """Draw five captioned pictures; return them as a zip."""
    draw_images(folder)
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, file.name)
    return made.getvalue()


def environment_of(folder: Path, hub: str, hosts: Mapping[str, str]) -> dict[str, str]:
    """Return the server's environment: nothing of this machine's settings, its hub and its names on loopback."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return kept | {
        "WORKSPACE": str(folder),
        "ENDPOINT_ROOT": str(folder / "endpoint"),
        "MUSABI_STATE_DIR": str(folder / "state"),
        "MUSABI_API_KEY": KEY,
        "HF_ENDPOINT": hub,
        "HF_HUB_DISABLE_XET": "1",
        "OMP_NUM_THREADS": "1",
        "MUSABI_TEST_HOSTS": json.dumps(dict(hosts)),
    }


def do_whole(client: httpx.Client) -> None:
    """Do one job to its end, so that all that is read and made once has been."""
    job_id = client.post("/run", json={"input": REQUEST}).raise_for_status().json()["id"]
    status = ended(client, job_id)
    assert status["status"] == "COMPLETED", status


def seconds_to_start(client: httpx.Client, jobs: Path) -> float:
    """Return the seconds from a request to the start of the trainer's first process; the job is then cancelled."""
    begun = time.time()
    job_id = client.post("/run", json={"input": REQUEST}).raise_for_status().json()["id"]
    runs = jobs / job_id / "workspace" / "runs"
    while (started := first_start(runs)) is None:
        status = client.get(f"/status/{job_id}").json()
        assert status["status"] not in ENDED and time.time() < begun + LIMIT_SECONDS, status
        time.sleep(LOOK_SECONDS)
    client.post(f"/cancel/{job_id}").raise_for_status()
    ended(client, job_id)
    return started - begun


def first_start(runs: Path) -> float | None:
    """Return when a job's run started its first step, in Unix seconds, or None where it did not yet."""
    run = newest_run(runs) if runs.is_dir() else None
    steps = run.load().steps if run is not None else []
    return steps[0].started if steps else None


def ended(client: httpx.Client, job_id: str) -> dict[str, Any]:
    """Return the status of a job once it has ended and its slot is free."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while True:
        status: dict[str, Any] = client.get(f"/status/{job_id}").json()
        busy = client.get("/health").json()["workers"]["running"]
        if status["status"] in ENDED and not busy:
            return status
        assert time.monotonic() < deadline, status
        time.sleep(LOOK_SECONDS)


if __name__ == "__main__":
    main()
