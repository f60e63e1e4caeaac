"""The same image by Docker, where a daemon answers: built on Debian's own image, booted, stopped."""

import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("image")]

ROOT = Path(__file__).parents[2]
IMAGE = "localhost/musabi-test"


@pytest.fixture
def docker() -> None:
    program = shutil.which("docker")
    if program is None:
        pytest.skip("docker is not installed")
    try:
        answers = (
            subprocess.run([program, "info"], capture_output=True, timeout=20, check=False).returncode == 0
        )
    except subprocess.TimeoutExpired:
        answers = False
    if not answers:
        pytest.skip("no Docker daemon answers")


@pytest.mark.usefixtures("docker")
def test_docker_builds_and_boots_the_image() -> None:
    build = [
        "docker",
        "build",
        "--target",
        "slim",
        "--build-arg",
        "BASE_IMAGE=debian:bookworm-slim",
        "--tag",
        IMAGE,
    ]
    done = subprocess.run([*build, str(ROOT)], capture_output=True, text=True, timeout=1800, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    smoke = [str(ROOT / "scripts/image/smoke.sh"), IMAGE]
    booted = subprocess.run(smoke, capture_output=True, text=True, timeout=300, check=False)
    assert booted.returncode == 0, booted.stdout + booted.stderr
