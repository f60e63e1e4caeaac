"""`musabi check` as a person runs it."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Run = subprocess.CompletedProcess[str]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A dataset of three photos, of which one is turned."""
    (tmp_path / "images").mkdir()
    for number in range(3):
        add(tmp_path, f"{number}.jpg", number)
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(tmp_path / "images" / "0.jpg") as opened:
        opened.save(tmp_path / "images" / "0.jpg", exif=exif.tobytes())
    (tmp_path / "dataset.toml").write_text(
        '[general]\nresolution = 64\ncaption_extension = ".txt"\nenable_bucket = true\nbatch_size = 2\n'
        f'[[datasets]]\nimage_directory = "{tmp_path / "images"}"\ncache_directory = "{tmp_path / "cache"}"\n'
    )
    return tmp_path


def add(root: Path, name: str, seed: int, caption: str = "ohwx {0}") -> Path:
    small = np.random.default_rng(seed).integers(0, 255, (6, 6, 3), dtype=np.uint8)
    image = root / "images" / name
    Image.fromarray(small).resize((96, 64), Image.Resampling.BICUBIC).save(image)
    image.with_suffix(".txt").write_text(caption.format(seed))
    return image


def environ(root: Path) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(root), "WORKSPACE": str(root / "space")}


def musabi(root: Path, *arguments: str) -> Run:
    command = [sys.executable, "-m", "musabi", "check", str(root / "dataset.toml"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=environ(root), check=False)


def test_numbers_buckets_and_findings_are_printed(root: Path) -> None:
    ran = musabi(root, "--target-steps", "10", "--trigger-word", "ohwx")
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith(
        "For Z-Image: 3 images, 2 steps an epoch\n10 target steps: 5 epochs, 10 steps\nBuckets:\n"
    )
    assert "80x48: 3 images, 2 batches of 2" in ran.stdout
    assert "stored turned or mirrored" in ran.stdout
    assert "trigger" not in ran.stdout


def test_errors_are_counted_once_and_end_with_2(root: Path) -> None:
    (root / "images" / "1.jpg").write_bytes(b"")
    ran = musabi(root)
    assert ran.returncode == 2
    assert "1.jpg is empty. Replace it" in ran.stdout
    assert ran.stderr == (
        "Error: 1 error would stop a training. Mend what is said above, or make a mended copy with: "
        "musabi check --fix\n"
    )
    values = json.loads((quiet := musabi(root, "--json")).stdout)
    assert (quiet.returncode, quiet.stderr, values["trainable"]) == (2, "", False)


def test_a_copy_is_advised_only_where_it_mends_something(root: Path) -> None:
    (root / "images" / "1.txt").unlink()
    (root / "images" / "orphan.txt").write_text("ohwx")
    ran = musabi(root)
    assert ran.returncode == 2
    assert "3 images" not in ran.stdout and "Looked at, but not trained on: 1." in ran.stdout
    assert "by hand or with musabi caption, or pass --allow-missing-captions" in ran.stdout
    assert "orphan.txt has no picture of its name." in ran.stdout
    assert "--fix" not in ran.stderr and f"musabi caption {root / 'dataset.toml'}" in ran.stderr
    for image in (root / "images").glob("*.jpg"):
        image.unlink()
    empty = musabi(root).stdout
    assert empty.startswith("For Z-Image: no images, 0 steps an epoch\n") and "Buckets" not in empty


def test_a_job_file_is_checked_for_its_own_model(root: Path) -> None:
    (root / "job.toml").write_text('model = "qwen-image"\ndataset_config = "dataset.toml"\n')
    command = [sys.executable, "-m", "musabi", "check", "job.toml", "--set", "target_steps=10"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environ(root), cwd=root)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith("For Qwen-Image: 3 images, 2 steps an epoch\n10 target steps")


def test_a_folder_or_nothing_in_the_place_of_a_dataset_toml_is_said_so(root: Path) -> None:
    for name, said in {
        "": f"{root} is a folder. Name the dataset TOML in it: {root / 'dataset.toml'}",
        "images": f"is a folder. Name a dataset TOML. One is written by: musabi init MODEL {root / 'images'}",
        "nothing": f"{root / 'nothing'} is not there.",
    }.items():
        command = [sys.executable, "-m", "musabi", "check", str(root / name)]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environ(root))
        assert ran.returncode == 2 and said in ran.stderr, ran.stderr


def test_a_mended_copy_is_made_and_can_be_checked(root: Path) -> None:
    before = {path: path.read_bytes() for path in (root / "images").iterdir()}
    ran = musabi(root, "--fix", "--json", "--html", str(root / "sheet.html"))
    assert ran.returncode == 0, ran.stderr
    values = json.loads(ran.stdout)["mended"]
    assert values["config"] == str(root / "dataset-mended" / "dataset.toml")
    assert values["changes"][0]["what"] == ["turned upright"]
    assert {path: path.read_bytes() for path in (root / "images").iterdir()} == before
    assert (root / "sheet.html").read_text().count("data:image/jpeg") == 3
    again = musabi(root, "--fix")
    assert again.returncode == 2
    assert "is there already" in again.stderr
    elsewhere = musabi(root, "--fix", "--to", str(root / "copy"))
    assert "0.jpg is 0.jpg: turned upright" in elsewhere.stdout
    assert "The originals are as they were." in elsewhere.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--to", "copy"), "Pass --fix as well."),
        (("--model", "no-such-model"), 'There is no recipe for the model "no-such-model"'),
        (("--target-steps", "0"), "--target-steps"),
        (("--set", "nonsense"), "is not NAME=VALUE"),
        (("--html", "/proc/no/sheet.html"), "/proc"),
        (("--html", "/proc"), "/proc is a folder. Name a file, such as /proc/sheet.html."),
    ],
)
def test_what_can_not_be_right_is_said_in_a_sentence(
    root: Path, arguments: tuple[str, ...], said: str
) -> None:
    ran = musabi(root, *arguments)
    assert ran.returncode in (2, 3)
    assert said in ran.stderr
    assert "Traceback" not in ran.stderr


def test_ctrl_c_ends_soon_with_130_and_without_a_traceback(root: Path) -> None:
    rng = np.random.default_rng(9)
    first = root / "images" / "big0.png"
    Image.fromarray(rng.integers(0, 255, (1200, 1200, 3), dtype=np.uint8)).save(first)
    for number in range(400):
        image = root / "images" / f"big{number}.png"
        if image != first:
            image.symlink_to(first)
        image.with_suffix(".txt").write_text(f"ohwx {number}")
    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "musabi", "check", str(root / "dataset.toml")]
    started = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=follower, text=True, env=environ(root) | {"TERM": "xterm"}
    )
    os.close(follower)
    shown = b""
    try:
        deadline = time.monotonic() + 30
        while b"Looking at images" not in shown and time.monotonic() < deadline:
            shown += os.read(leader, 4096)
        started.send_signal(signal.SIGINT)
        asked = time.monotonic()
        assert started.wait(timeout=20) == 130
        assert time.monotonic() - asked < 5
        shown += os.read(leader, 65536)
    finally:
        started.kill()
        started.wait()
        os.close(leader)
    assert b"Looking at images" in shown
    assert b"Traceback" not in shown
