from typing import Any

from musabi.dataset.check import check
from musabi.dataset.items import scan
from musabi.dataset.leftovers import leftovers


def test_cache_files_of_images_that_are_gone_or_replaced_are_named(folder: Any) -> None:
    folder.add("here.png", (64, 64))
    folder.add("a_b.png", (96, 64))
    for name in (
        "here_0064x0064_zi.safetensors",
        "a_b_0096x0064_zi.safetensors",
        "here_zi_te.safetensors",
        "here_0099x0064_zi.safetensors",
        "gone_0064x0064_zi.safetensors",
        "gone_zi_te.safetensors",
        "here_0064x0064_qi.safetensors",
        "notes.safetensors",
    ):
        (folder.cache / name).write_bytes(b"x")
    found = leftovers(scan(folder.config().datasets[0]))
    assert [path.name for path in found] == [
        "gone_0064x0064_zi.safetensors",
        "gone_zi_te.safetensors",
        "here_0099x0064_zi.safetensors",
    ]
    notes = [one.message for one in check(folder.config()).findings if one.level == "note"]
    assert any("3 cache files" in note and "here_0099x0064_zi" in note for note in notes)


def test_cache_files_of_an_image_that_can_not_be_read_are_not_said_to_be_of_none(folder: Any) -> None:
    folder.add("broken.png").write_bytes(b"x")
    (folder.cache / "broken_0064x0064_zi.safetensors").write_bytes(b"x")
    assert leftovers(scan(folder.config().datasets[0])) == ()


def test_the_clips_of_a_video_are_known_by_its_name(folder: Any, make_video: Any) -> None:
    from dataclasses import replace

    from musabi.dataset.frames import Extraction

    make_video(folder.images / "walk.mp4")
    for name in ("walk_00000-017_0064x0048_zi", "run_00000-017_0064x0048_zi", "walk_zi_te"):
        (folder.cache / f"{name}.safetensors").write_bytes(b"x")
    dataset = replace(folder.config().datasets[0], video=Extraction(asked=(17,)))
    assert [path.name for path in leftovers(scan(dataset))] == ["run_00000-017_0064x0048_zi.safetensors"]
