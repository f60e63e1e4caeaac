"""`musabi models download --to`: a volume is filled on a pod, and an endpoint finds the model on it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from peers.loopback_hub import LoopbackHub
from serverless.models.conftest import SDXL_FILE, Bench


def download(bench: Bench, *arguments: str) -> "subprocess.CompletedProcess[str]":
    argv = [sys.executable, "-P", "-m", "musabi", "models", "download", *arguments]
    environ = bench.environ | {"WORKSPACE": str(bench.volume)}
    return subprocess.run(argv, env=environ, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.slow
def test_an_endpoint_finds_what_a_pod_has_put_on_the_volume(
    bench: Bench, hub: LoopbackHub, tmp_path: Path
) -> None:
    bench.put_configs()
    done = download(bench, "sdxl", "--to", str(bench.volume), "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told == {"model": "sdxl", "engine": "diffusion_pipe", "root": str(bench.volume / "musabi")}
    # A worker has the volume at another place than the pod.
    bench.volume = bench.volume.rename(tmp_path / "runpod-volume")
    hub.seen.clear()
    place = bench.bring("sdxl")["checkpoint_path"]
    assert place == bench.volume / "musabi/models/sdXL_v10VAEFix" / SDXL_FILE
    assert hub.seen == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("sdxl", "--engine", "diffusion_pipe"), "--engine is for --to alone"),
        (("sdxl", "--to", "/no/such/volume"), "no folder /no/such/volume"),
        (("OWNER/NAME", "--to", "here"), 'no model "OWNER/NAME"'),
    ],
)
def test_what_can_t_be_meant_is_refused(bench: Bench, arguments: tuple[str, ...], words: str) -> None:
    done = download(bench, *arguments)
    assert done.returncode == 2
    assert words in done.stderr and "Traceback" not in done.stderr
    assert bench.hub.seen == []
