"""Which files get a caption."""

from pathlib import Path

import pytest

from musabi.captioning.plan import Place, first_a_few, make_plan, places_of
from musabi.dataset.config import read_config
from musabi.errors import RequestError
from musabi.recipes import load


def touch(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"")


def names(plan_files: tuple) -> list[str]:
    return [item.file.name for item in plan_files]


def test_what_has_a_caption_keeps_it_and_an_empty_one_is_none(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "b.jpg", "c.mp4", "d.PNG", ".hidden.png", "notes.md", "b.txt")
    (tmp_path / "a.txt").write_text("a man\n")
    (tmp_path / "b.txt").write_text(" \n")
    (tmp_path / "d.txt").write_bytes("Käse".encode("latin-1"))
    plan = make_plan([Place(tmp_path)])
    assert names(plan.files) == ["b.jpg", "c.mp4"]
    assert [item.kind for item in plan.files] == ["image", "video"]
    assert plan.captioned == 2
    assert names(make_plan([Place(tmp_path)], overwrite=True).files) == ["a.png", "b.jpg", "c.mp4", "d.PNG"]


def test_files_that_the_trainer_would_not_pair_are_passed_over_with_a_reason(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "a.jpg", "b.Jpg")
    plan = make_plan([Place(tmp_path)])
    assert names(plan.files) == ["a.jpg"]
    assert [(file.name, why.split(" ")[0]) for file, why in plan.passed_over] == [
        ("a.png", "its"),
        ("b.Jpg", "the"),
    ]


def test_an_empty_folder_and_one_without_pictures_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no picture or video in"):
        make_plan([Place(tmp_path)])
    touch(tmp_path, "notes.txt")
    (tmp_path / "inside").mkdir()
    with pytest.raises(RequestError, match="folders inside it are not looked at"):
        make_plan([Place(tmp_path)])
    with pytest.raises(RequestError, match="is not there"):
        make_plan([Place(tmp_path / "nowhere")])
    with pytest.raises(RequestError, match="is not a folder"):
        make_plan([Place(tmp_path / "notes.txt")])


def test_a_dataset_toml_says_folders_endings_and_kinds(tmp_path: Path) -> None:
    touch(tmp_path / "stills", "a.png", "a.mp4")
    touch(tmp_path / "clips", "b.png", "b.mp4")
    config = tmp_path / "dataset.toml"
    config.write_text(
        f'[general]\nresolution = [64, 64]\ncaption_extension = ".caption"\nenable_bucket = true\n'
        f'[[datasets]]\nimage_directory = "{tmp_path}/stills"\ncache_directory = "{tmp_path}/c1"\n'
        f'[[datasets]]\nvideo_directory = "{tmp_path}/clips"\ncache_directory = "{tmp_path}/c2"\n'
        "target_frames = [1]\n"
    )
    recipe = load("z-image").dataset.model_copy(update={"takes": ("image", "video")})
    plan = make_plan(places_of(read_config(config, recipe, "wan")))
    assert [item.caption_file.name for item in plan.files] == ["a.caption", "b.caption"]
    assert [item.kind for item in plan.files] == ["image", "video"]


def test_layers_share_the_caption_of_their_picture(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "a_0.png", "a_1.png", "b_1.png")
    plan = make_plan([Place(tmp_path, layered=True)])
    assert names(plan.files) == ["a.png", "b_1.png"]


def test_a_preview_takes_files_from_the_whole_folder(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{number}.png" for number in range(9)))
    files = make_plan([Place(tmp_path)]).files
    ahead = first_a_few(files, 3)
    assert names(ahead) == ["0.png", "4.png", "8.png", "1.png", "2.png", "3.png", "5.png", "6.png", "7.png"]
    assert names(first_a_few(files[:2], 3)) == ["0.png", "1.png"]
