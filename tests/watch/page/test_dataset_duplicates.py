"""Duplicates side by side: those that are still there, with what tells them apart."""

from pathlib import Path

import pytest
from PIL import Image

from musabi.watch.page.dataset_duplicates import MOST_GROUPS, MOST_IN_GROUP, groups, shown
from musabi.watch.page.html import render
from musabi.watch.page.scene import Scene
from small.page import make_scene

NASTY = "a & <b>\"'.png"


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    made = make_scene(tmp_path)
    made.space.images.mkdir(parents=True)
    for name, side in (("one.png", 64), ("two.png", 128), (NASTY, 32)):
        Image.new("RGB", (side, 64)).save(made.space.images / name)
    return made


def report(scene: Scene, *names: str, kind: str = "same") -> dict[str, list[list[str]]]:
    return {kind: [[str(scene.space.images / name) for name in names]]}


def test_a_group_shows_what_tells_its_images_apart(scene: Scene) -> None:
    (group,) = groups(scene, report(scene, "one.png", "two.png", kind="alike"))
    assert group["title"] == "They look alike"
    assert [(tile["file"], tile["pixels"]) for tile in group["tiles"]] == [
        ("dataset/images/one.png", "64 \u00d7 64"),
        ("dataset/images/two.png", "128 \u00d7 64"),
    ]


def test_what_went_to_the_bin_meanwhile_is_no_duplicate_any_more(scene: Scene) -> None:
    (scene.space.images / "two.png").unlink()
    assert groups(scene, report(scene, "one.png", "two.png")) == []
    assert len(groups(scene, report(scene, "one.png", "two.png", NASTY))[0]["tiles"]) == 2


def test_files_outside_of_the_workspace_are_not_shown(scene: Scene, tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "outside.png")
    assert (
        groups(scene, {"same": [[str(scene.space.images / "one.png"), str(tmp_path / "outside.png")]]}) == []
    )


def test_names_are_shown_and_sent_as_they_are(scene: Scene) -> None:
    html = render("dataset_duplicates", {"groups": groups(scene, report(scene, "one.png", NASTY)), "more": 0})
    assert "<b>" not in html
    assert 'src="thumbnail?file=dataset/images/a%20%26%20%3Cb%3E%22%27.png"' in html
    assert 'data-bin="dataset/images/a &amp; &lt;b&gt;&#34;&#39;.png"' in html


def test_very_many_are_counted_and_not_all_drawn(scene: Scene) -> None:
    images = scene.space.images
    for number in range(9):
        (images / f"{number}.png").write_bytes((images / "one.png").read_bytes())
    (group,) = groups(scene, report(scene, *(f"{number}.png" for number in range(9))))
    assert (len(group["tiles"]), group["more"]) == (MOST_IN_GROUP, 9 - MOST_IN_GROUP)
    many = {"same": report(scene, "one.png", "two.png")["same"] * (MOST_GROUPS + 5)}
    html = render("dataset_duplicates", shown(scene, many))
    assert "And 5 more groups." in html
