"""`musabi publish` and `musabi fetch` as a person runs them, killed in between too."""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from peers.loopback_files import LoopbackFiles, running_files
from peers.loopback_hub_uploads import UploadHub, running_upload_hub
from small.finished_run import NAME, make_run

TOKEN = "hf_averymarkedtoken1234567890"
KEY = "averymarkedaccesskey1234567890"


@pytest.fixture
def hub() -> Iterator[UploadHub]:
    with running_upload_hub(TOKEN) as running:
        yield running


@pytest.fixture
def files() -> Iterator[LoopbackFiles]:
    with running_files() as running:
        yield running


@pytest.fixture
def root(tmp_path: Path) -> Path:
    make_run(tmp_path / "space", size=3_000_000)
    return tmp_path / "space"


@pytest.fixture
def environ(root: Path, hub: UploadHub) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"], "HOME": str(root.parent), "WORKSPACE": str(root), "HF_ENDPOINT": hub.url,
        "HF_TOKEN": TOKEN, "AWS_SECRET_ACCESS_KEY": KEY, "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
    }  # fmt: skip


Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(environ: dict[str, str]) -> Iterator[Start]:
    started: list[subprocess.Popen[str]] = []

    def starting(*words: object, **more: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "musabi", *map(str, words)],
            env=environ | more,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(process)
        return process

    yield starting
    for process in started:
        if process.poll() is None:
            process.kill()
            process.wait()


def said(process: subprocess.Popen[str], code: int = 0) -> str:
    text, _ = process.communicate(timeout=90)
    assert process.returncode == code, text
    assert TOKEN not in text and KEY not in text and "Traceback" not in text
    return text


def until(what: Callable[[], Any], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.02)


def photos(path: Path, count: int = 30) -> bytes:
    """Return a zip of pictures with captions; noise, so that it has some size."""
    numbers = random.Random(7)  # noqa: S311 - the same pictures each time, no secret
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(count):
            picture = path.with_suffix(".png")
            Image.frombytes("RGB", (120, 120), numbers.randbytes(120 * 120 * 3)).save(picture)
            archive.write(picture, f"set/{number:02d}.png")
            archive.writestr(f"set/{number:02d}.txt", f"caption {number}")
            picture.unlink()
    return path.read_bytes()


def test_a_run_is_published_to_the_hub_and_said_so(start: Start, hub: UploadHub, root: Path) -> None:
    dry = said(start("publish", "run-1", "--to", "hf:tester/{name}", "--dry-run"))
    assert f"{NAME}.safetensors" in dry and "hf:tester/ohwx_v1" in dry and not hub.repos
    text = said(start("publish", "--to", "hf:tester/{name}"))
    assert f"Published to {hub.url}/tester/ohwx_v1" in text
    again = json.loads(said(start("publish", "--to", "hf:tester/{name}", "--json")))
    assert again["sent"] == [] and len(again["unchanged"]) == 8
    record = (root / "runs" / "run-1" / "record.json").read_text()
    assert "hf:tester/ohwx_v1" in record and TOKEN not in record
    assert hub.private["tester/ohwx_v1"]
    everything = b"".join(hub.repos["tester/ohwx_v1"].files.values())
    assert TOKEN.encode() not in everything and str(root).encode() not in everything


def test_publish_to_of_the_environment_is_the_default(start: Start, root: Path, tmp_path: Path) -> None:
    assert "Where to?" in said(start("publish"), 2)
    said(start("publish", PUBLISH_TO=str(tmp_path / "out")))
    assert (tmp_path / "out" / "README.md").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("whom", ["the command", "its child too"])
def test_a_publish_that_was_killed_goes_on_where_it_was(
    whom: str, start: Start, hub: UploadHub, root: Path
) -> None:
    hub.bytes_per_second = 1_500_000
    first = start("publish", "--to", "hf:tester/x")
    until(lambda: len(hub.objects) >= 4 and sum(hub.received.values()) > 3_500_000)
    children = Path(f"/proc/{first.pid}/task/{first.pid}/children").read_text().split()
    first.send_signal(signal.SIGKILL)
    first.wait()
    if whom == "its child too":
        for child in children:
            os.kill(int(child), signal.SIGKILL)
    until(lambda: not any(Path(f"/proc/{child}").exists() for child in children), 10)
    assert hub.commits == [] and set(hub.repos["tester/x"].files) == {".gitattributes"}
    hub.bytes_per_second = 0
    whole = {oid: hub.received[oid] for oid in hub.objects}
    said(start("publish", "--to", "hf:tester/x"))
    assert {oid: hub.received[oid] for oid in whole} == whole
    assert len(hub.commits) == 1
    for name in (f"{NAME}.safetensors", f"comfyui/{NAME}.safetensors"):
        assert hub.repos["tester/x"].files[name] == (root / "output" / name).read_bytes()


def test_a_publish_to_a_folder_that_was_killed_leaves_whole_files(
    start: Start, root: Path, tmp_path: Path
) -> None:
    lora = root / "output" / f"{NAME}.safetensors"
    sizes = {lora.name: lora.stat().st_size}
    for delay in (0.55, 0.6, 0.65, 0.7):
        process = start("publish", "--to", tmp_path / "out")
        time.sleep(delay)
        process.kill()
        process.wait()
        for path in (tmp_path / "out").rglob("*.safetensors"):
            assert path.stat().st_size == sizes[lora.name] or path.parent.name == "comfyui"
    said(start("publish", "--to", tmp_path / "out"))
    assert (tmp_path / "out" / lora.name).read_bytes() == lora.read_bytes()


def test_a_zip_is_fetched_counted_and_the_next_step_named(
    start: Start, files: LoopbackFiles, tmp_path: Path
) -> None:
    url = files.add("/photos.zip", photos(tmp_path / "p.zip")) + "?signature=verysecretsignature"
    assert "--allow-private" in said(start("fetch", url), 2)
    text = said(start("fetch", url, "--allow-private", "--to", tmp_path / "new"))
    assert "30 images, 30 caption files" in text
    assert "30 images with a caption. Next: musabi check" in text
    assert "verysecretsignature" not in text
    values = json.loads(said(start("fetch", tmp_path / "p.zip", "--to", tmp_path / "new", "--json")))
    assert values["already_there"] == 60 and values["with_caption"] == 30


@pytest.mark.slow
def test_a_fetch_that_was_killed_goes_on_where_it_was(
    start: Start, files: LoopbackFiles, tmp_path: Path
) -> None:
    content = photos(tmp_path / "p.zip")
    url = files.add("/photos.zip", content)
    files.bytes_per_second = 600_000
    target = tmp_path / "data" / "images"
    first = start("fetch", url, "--allow-private", "--to", target)
    until(lambda: files.sent > 500_000)
    first.kill()
    first.wait()
    assert not target.exists()
    files.bytes_per_second = 0
    said(start("fetch", url, "--allow-private", "--to", target))
    assert int((files.seen[-1][1] or "bytes=0-").removeprefix("bytes=").rstrip("-")) > 200_000
    assert len(list(target.iterdir())) == 60
    assert [path.name for path in target.parent.iterdir()] == ["images"]


@pytest.mark.slow
def test_an_unpacking_that_was_killed_at_any_moment_converges(start: Start, tmp_path: Path) -> None:
    """Whatever lies under a final name is whole, a caption is there before its image, and the end is the same."""
    photos(tmp_path / "p.zip", 60)
    with zipfile.ZipFile(tmp_path / "p.zip") as archive:
        whole = {Path(name).name: archive.read(name) for name in archive.namelist()}
    target = tmp_path / "data" / "images"
    numbers = random.Random(11)  # noqa: S311 - moments, no secret
    for _ in range(6):
        process = start("fetch", tmp_path / "p.zip", "--to", target)
        until(lambda: bool(list(tmp_path.glob("data/.images.incoming-*"))), 10)
        time.sleep(numbers.uniform(0, 0.25))
        process.kill()
        process.wait()
        for path in target.glob("*"):
            assert hashlib.sha256(path.read_bytes()).digest() == hashlib.sha256(whole[path.name]).digest()
            assert path.suffix == ".txt" or path.with_suffix(".txt").exists()
    said(start("fetch", tmp_path / "p.zip", "--to", target))
    assert {path.name: path.read_bytes() for path in target.iterdir()} == whole
    assert [path.name for path in target.parent.iterdir()] == ["images"]
