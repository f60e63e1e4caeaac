"""Samples on a run's page: the grid, small and whole pictures, videos, and nothing that is no sample of the run."""

import io
import os
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from musabi.job.record import ProducedFile
from musabi.watch.page import run_samples
from musabi.watch.page.run_samples import samples_of, samples_part
from musabi.watch.page.run_shown import shown_run
from small.run_page import browser_at, fill, scene_at


@pytest.fixture
def full_world(world: Any) -> Any:
    """A run with samples and checkpoints."""
    return fill(world)


FIRST = "ohwx_v1_e000002_00_20251009091500_42_000.png"


def ask(world: Any, name: str = FIRST, **more: str) -> Any:
    return browser_at(world.root).client.get("/sample", params={"id": "run-1", "name": name, **more})


def test_the_grid_is_prompt_by_checkpoint(full_world: Any) -> None:
    scene = scene_at(full_world.root)
    found = samples_of(scene, shown_run(scene, "run-1"))
    assert [moment.label for moment in found.moments][:3] == ["Before training", "Epoch 2", "Epoch 4"]
    assert [text[:10] for _, text in found.prompts] == ["ohwx woman", "ohwx woman"]
    assert len(found.files) == 12
    html = samples_part(scene, {"id": "run-1"})
    assert html.count("<img") == 12 and "Prompt 2, Epoch 10" in html


def test_a_sample_that_is_made_meanwhile_appears(full_world: Any) -> None:
    scene = scene_at(full_world.root)
    before = samples_part(scene, {"id": "run-1"})
    full_world.add_sample("ohwx_v1_e000011_00_20251009091500_42_000.png", 99)
    after = samples_part(scene, {"id": "run-1"})
    assert "Epoch 11" in after and "Epoch 11" not in before


@pytest.mark.parametrize(("px", "edge"), [("256", 256), ("768", 768), ("5000", 256)])
def test_small_pictures_come_in_two_sizes_only(full_world: Any, px: str, edge: int) -> None:
    name = "ohwx_v1_e000012_00_20251009091500_42_000.png"
    full_world.add_sample(name, 3, (1000, 500))
    answer = ask(full_world, name, px=px)
    assert answer.headers["content-type"] == "image/jpeg" and "immutable" in answer.headers["cache-control"]
    assert Image.open(io.BytesIO(answer.content)).size == (edge, edge // 2)


def test_the_whole_picture_is_the_file_itself(full_world: Any) -> None:
    answer = ask(full_world)
    assert answer.content == (full_world.output / "sample" / FIRST).read_bytes()
    assert answer.headers["content-type"] == "image/png"


@pytest.mark.parametrize("name", ["", "../ohwx_v1.safetensors", "/etc/passwd", "ohwx_v1.safetensors", "\0"])
def test_what_is_no_sample_of_the_run_is_not_there(full_world: Any, name: str) -> None:
    assert ask(full_world, name).status_code == 404


def test_a_record_can_not_make_the_page_show_a_file_elsewhere(full_world: Any, tmp_path_factory: Any) -> None:
    outside: Path = tmp_path_factory.mktemp("elsewhere")
    Image.new("RGB", (9, 9)).save(outside / "private.png")
    linked = full_world.output / "sample" / "ohwx_v1_e000001_00_20251009091500_42_000.png"
    linked.symlink_to(outside / "private.png")
    files = [
        ProducedFile(kind="sample", path=path, size=1, made=1) for path in (outside / "private.png", linked)
    ]
    full_world.record(files=files)
    assert ask(full_world, "private.png").status_code == 404
    assert ask(full_world, linked.name).status_code == 404


def test_a_picture_that_is_still_written_is_refused_and_not_kept(full_world: Any) -> None:
    path = full_world.output / "sample" / FIRST
    whole = path.read_bytes()
    for px in ("256", "768"):
        path.write_bytes(whole[: len(whole) // 2])
        assert ask(full_world, px=px).status_code == 404
        path.write_bytes(whole)
        assert ask(full_world, px=px).status_code == 200


def test_a_sample_that_came_in_pieces_gets_another_address_when_it_is_whole(
    full_world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = scene_at(full_world.root)
    path = full_world.add_sample("ohwx_v1_e000011_00_20251009091500_42_000.png", 99).path
    before = samples_of(scene, shown_run(scene, "run-1")).files[path.name].version
    os.utime(path, (time.time() + 1, time.time() + 1))
    monkeypatch.setattr(run_samples, "SETTLE_SECONDS", 0.0)  # as if that long had gone by
    assert samples_of(scene, shown_run(scene, "run-1")).files[path.name].version != before


def test_a_video_plays_and_can_be_asked_for_in_pieces(full_world: Any) -> None:
    name = "ohwx_v1_e000002_01_20251009091600_42.mp4"
    (full_world.output / "sample" / name).write_bytes(bytes(range(200)))
    html = samples_part(scene_at(full_world.root), {"id": "run-1"})
    assert f'data-name="{name}"' in html and "data-plays" in html
    answer = browser_at(full_world.root).client.get(
        "/sample", params={"id": "run-1", "name": name}, headers={"range": "bytes=10-19"}
    )
    assert (answer.status_code, answer.content) == (206, bytes(range(10, 20)))
    assert answer.headers["content-type"] == "video/mp4"


def test_a_run_without_samples_says_why(world: Any) -> None:
    assert "Make a grid of its checkpoints below." in samples_part(scene_at(world.root), {"id": "run-1"})
