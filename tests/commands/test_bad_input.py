"""What a person gets wrong, and the one or two sentences that they get back."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from small.space import Space

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("commands")]


def break_toml(old: str, new: str) -> Callable[[Space], None]:
    return lambda space: space.toml.write_text(space.toml.read_text().replace(old, new))


def remove_images(space: Space) -> None:
    shutil.rmtree(space.images)
    space.images.mkdir()


def remove_captions(space: Space) -> None:
    for number in (1, 3):
        (space.images / f"robot{number}.txt").unlink()


def break_image(space: Space) -> None:
    (space.images / "robot2.png").write_bytes(b"this is no picture")


def remove_vae(space: Space) -> None:
    models = space.root / "models"
    source = models.resolve()
    models.unlink()
    shutil.copytree(source, models)
    (models / "vae" / "ae.safetensors").unlink()


MISTAKES: dict[str, tuple[Callable[[Space], None], tuple[str, ...]]] = {
    "no images": (remove_images, ("no image",)),
    "images without captions": (remove_captions, ("robot1.png", "robot3.png", "--allow-missing-captions")),
    "an unreadable image": (break_image, ("robot2.png",)),
    "a wrong TOML key": (break_toml("batch_size", "batchsize"), ("batchsize", "batch_size")),
    "a TOML syntax error": (
        break_toml('caption_extension = ".txt"', "caption_extension = .txt"),
        ("line 3", "column"),
    ),
    "a missing weight file": (remove_vae, ("ae.safetensors is not there", "VAE_PATH")),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_named_before_anything_starts(empty: Space, mistake: str) -> None:
    make, said = MISTAKES[mistake]
    make(empty)
    code, message = empty.refused("train")
    assert code == 2, message
    assert all(part in message for part in said), message
    assert len(message) < 500
    assert not (empty.root / "runs").exists()


def test_images_without_captions_can_be_left_out(empty: Space) -> None:
    remove_captions(empty)
    plan = empty.ok("plan", "--allow-missing-captions")
    assert "2 steps an epoch" in plan


def test_a_file_that_is_no_lora_is_not_converted(empty: Space) -> None:
    code, message = empty.refused("convert", empty.root / "models" / "vae" / "ae.safetensors")
    assert code == 2 and "holds no LoRA" in message


def test_engine_auto_means_musubi_and_says_what_to_do_where_it_is_missing(empty: Space) -> None:
    code, message = empty.refused("train", ENGINE="auto")
    assert code == 3 and "musubi-tuner is not in" in message and "musabi bootstrap" in message


def test_a_setting_that_cannot_be_right_is_said_as_json_too(empty: Space) -> None:
    done = empty.run("plan", "--json", NETWORK_DIM="many")
    assert done.returncode == 2
    assert '"error": "NETWORK_DIM is' in done.stdout


needs_mounts = pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")


@pytest.fixture
def mount(tmp_path: Path) -> Any:
    """Mount a tmpfs with these options; taken off afterwards."""
    places = []

    def make(options: str) -> Path:
        place = tmp_path / f"disk{len(places)}"
        place.mkdir()
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", place], capture_output=True, text=True
        )
        if done.returncode != 0:
            pytest.skip(f"this machine can't mount a tmpfs: {done.stderr.strip()}")
        places.append(place)
        return place

    yield make
    for place in places:
        subprocess.run(["umount", "--lazy", place], check=False)


@needs_mounts
def test_a_read_only_output_folder_is_said_before_anything_starts(empty: Space, mount: Any) -> None:
    disk = mount("ro")
    code, message = empty.refused("train", OUTPUT_DIR=str(disk / "output"))
    assert code == 3 and "Nothing can be written to" in message and "OUTPUT_DIR" in message


@needs_mounts
def test_a_disk_that_is_too_small_is_foreseen(space: Space, mount: Any) -> None:
    code, message = space.refused("train", OUTPUT_DIR=str(mount("size=100k")), NETWORK_DIM="16")
    assert code == 3 and "this run will write" in message and "Free" in message


@needs_mounts
def test_a_disk_that_fills_up_leaves_nothing_half_written(space: Space, mount: Any) -> None:
    disk = mount("size=3m")
    (disk / "ballast").write_bytes(bytes(1_600_000))
    process = space.start(
        "train", env={"OUTPUT_DIR": str(disk), "MAX_TRAIN_EPOCHS": "40", "NETWORK_DIM": "8"}
    )
    out, err = process.communicate(timeout=180)
    if process.returncode == 0:
        pytest.skip("the run fitted on the disk")
    assert process.returncode == 3, out + err
    assert "full" in out + err or "free" in out + err
    from musabi.whole import is_whole_safetensors

    assert all(is_whole_safetensors(path) for path in disk.glob("*.safetensors"))
