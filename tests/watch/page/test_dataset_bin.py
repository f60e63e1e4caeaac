"""The bin: images leave the dataset with their captions, come back over nothing, and no scan sees them."""

import os
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from musabi.dataset.config import ImageDataset
from musabi.dataset.items import scan
from musabi.watch.page import dataset_bin, dataset_bin_files
from musabi.watch.page.dataset_place import DatasetFolder
from small.page import Browser, make_scene, plain_view

IMAGES = "dataset/images"
HOSTILE = (
    "../outside.png",
    f"{IMAGES}/../../../outside.png",
    "/etc/hostname",
    f"{IMAGES}/.hidden.png",
    f"{IMAGES}/.bin/20260101-000000-1/a.png",
    f"{IMAGES}/link.png",
    f"{IMAGES}/sub/deep.png",
    IMAGES,
    "dataset/dataset.toml",
    "output/lora.safetensors",
    "linked/a.png",
    "\0",
    "",
)


class Space(Browser):
    """A workspace with a dataset, and its bin."""

    def __init__(self, folder: Path) -> None:
        self.scene = make_scene(folder)
        super().__init__(
            self.scene, (plain_view(routes=dataset_bin.ROUTES, parts={"bin": dataset_bin.part}),)
        )
        self.root = self.scene.space.root
        self.images = self.scene.space.images
        self.images.mkdir(parents=True)

    def add(self, name: str, caption: str | None = "ohwx", colour: str = "navy") -> Path:
        path = self.images / name
        Image.new("RGB", (64, 64), colour).save(path)
        if caption is not None:
            path.with_suffix(".txt").write_text(caption)
        return path

    def bin(self, *names: str) -> Any:
        return self.change("/bin", {"files": [f"{IMAGES}/{name}" for name in names]})

    def names(self) -> list[str]:
        return sorted(path.name for path in self.images.iterdir() if path.name != ".bin")

    def binned(self) -> list[dataset_bin_files.Binned]:
        return dataset_bin_files.binned(self.images)

    def restore(self) -> Any:
        return self.change(
            "/bin-restore", {"ids": [dataset_bin.key_of(self.scene, one) for one in self.binned()]}
        )

    def part(self) -> str:
        return dataset_bin.part(self.scene, {})


@pytest.fixture
def space(tmp_path: Path) -> Space:
    return Space(tmp_path)


def test_an_image_leaves_with_its_caption_and_comes_back_with_it(space: Space) -> None:
    before = space.add("a.png").read_bytes()
    space.add("b.png")
    answer = space.bin("a.png").json()
    assert answer == {"ok": True, "message": "1 image is in the bin.", "files": [f"{IMAGES}/a.png"]}
    assert space.names() == ["b.png", "b.txt"]
    assert [file.name for file in space.binned()[0].files] == ["a.png", "a.txt"]
    assert "Back in the dataset: a.png" in space.restore().json()["message"]
    assert space.names() == ["a.png", "a.txt", "b.png", "b.txt"]
    assert (space.images / "a.png").read_bytes() == before
    assert space.binned() == []


def test_no_scan_of_the_dataset_sees_the_bin(space: Space) -> None:
    space.add("a.png")
    space.add("b.png")
    space.bin("a.png")
    found = scan(ImageDataset(space.images, space.images / "cache"))
    assert [item.image.name for item in found.items] == ["b.png"]
    assert not (found.ignored or found.orphans or found.without_caption)
    assert not [
        path for path in space.images.glob("*") if path.name.startswith(".") is False and path.is_dir()
    ]


def test_a_restored_image_goes_over_nothing_and_keeps_its_own_caption(space: Space) -> None:
    space.add("a.png", "the old one", "navy")
    space.bin("a.png")
    space.add("a.png", "the new one", "red")
    answer = space.restore().json()
    assert "a-2.png" in answer["message"]
    assert (space.images / "a.txt").read_text() == "the new one"
    assert (space.images / "a-2.txt").read_text() == "the old one"
    assert space.names() == ["a-2.png", "a-2.txt", "a.png", "a.txt"]


def test_a_restored_image_takes_no_other_images_name_or_caption(space: Space) -> None:
    space.add("a.png", None)
    space.bin("a.png")
    space.add("a.jpg", "of the jpg")
    space.restore()
    assert space.names() == ["a-2.png", "a.jpg", "a.txt"]


def test_images_of_one_name_lie_in_the_bin_side_by_side(space: Space) -> None:
    for colour in ("navy", "red", "green"):
        space.add("a.png", colour, colour)
        assert space.bin("a.png").status_code == 200
    assert len(space.binned()) == 3
    space.restore()
    assert space.names() == ["a-2.png", "a-2.txt", "a-3.png", "a-3.txt", "a.png", "a.txt"]
    for name in ("a", "a-2", "a-3"):
        colour = (space.images / f"{name}.txt").read_text()
        assert Image.open(space.images / f"{name}.png").getpixel((0, 0)) == Image.new(
            "RGB", (1, 1), colour
        ).getpixel((0, 0))


def test_a_caption_that_another_image_needs_stays(space: Space) -> None:
    space.add("a.png")
    space.add("a.jpg", None)
    space.bin("a.png")
    assert space.names() == ["a.jpg", "a.txt"]


@pytest.mark.parametrize("name", HOSTILE)
def test_nothing_but_the_datasets_own_files_is_moved(space: Space, tmp_path: Path, name: str) -> None:
    space.add("a.png")
    for other in ("outside.png", "ws/output/lora.safetensors", "ws/dataset/dataset.txt"):
        (tmp_path / other).parent.mkdir(exist_ok=True)
        (tmp_path / other).write_bytes(b"kept")
    (space.root / "dataset" / "dataset.toml").write_text("")
    (space.images / ".hidden.png").write_bytes(b"kept")
    (space.images / "sub").mkdir()
    (space.images / "sub" / "deep.png").write_bytes(b"kept")
    (space.images / "link.png").symlink_to(tmp_path / "outside.png")
    (space.root / "linked").symlink_to(tmp_path)
    before = sorted(map(str, tmp_path.rglob("*")))
    answer = space.change("/bin", {"files": [f"{IMAGES}/a.png", name]})
    assert (answer.status_code, answer.json()["ok"]) == (422, False)
    assert sorted(map(str, tmp_path.rglob("*"))) == before


@pytest.mark.parametrize("files", [None, [], "a.png", {"a": 1}, [None], [["a"]]])
def test_a_request_that_names_nothing_is_refused(space: Space, files: object) -> None:
    assert space.change("/bin", {"files": files}).status_code == 422


def test_names_with_quotes_and_html_are_moved_and_shown_as_they_are(space: Space) -> None:
    name = "<img src=x onerror=alert(1)>\"'&.png"
    space.add(name)
    assert space.bin(name).status_code == 200
    html = space.part()
    assert "<img" not in html and "&lt;img src=x onerror=alert(1)&gt;&#34;&#39;&amp;.png" in html
    assert space.restore().status_code == 200
    assert name in space.names()


def test_both_files_move_or_neither(space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    space.add("a.png")
    rename = Path.rename

    def broken(self: Path, target: Path) -> Path:
        if self.suffix == ".txt":
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", broken)
    answer = space.bin("a.png")
    assert (answer.status_code, "No space left" in answer.json()["message"]) == (422, True)
    assert space.names() == ["a.png", "a.txt"]
    assert space.binned() == []


def test_one_that_is_gone_already_keeps_the_others_from_nothing(space: Space) -> None:
    space.add("a.png")
    answer = space.bin("gone.png", "a.png")
    assert answer.status_code == 422
    assert answer.json()["files"] == [f"{IMAGES}/a.png"]
    assert "gone.png is not there any more." in answer.json()["message"]


def test_images_of_a_jsonl_file_stay(space: Space) -> None:
    file = space.add("a.png")
    with pytest.raises(Exception, match="Take its line out there first"):
        dataset_bin_files.put_away(DatasetFolder(space.images, ".txt", space.root / "all.jsonl"), file)
    assert file.exists()


def test_emptying_removes_what_is_in_the_bin_and_nothing_else(space: Space, tmp_path: Path) -> None:
    space.add("a.png")
    space.add("b.png")
    space.bin("a.png")
    own = space.images / ".bin" / "kept by a person" / "notes"
    own.parent.mkdir()
    own.write_text("kept")
    (space.images / ".bin" / "20260101-000000-9").symlink_to(tmp_path)
    assert "1 image is removed for good." in space.change("/bin-empty", {}).json()["message"]
    assert own.exists() and (tmp_path / "ws").is_dir()
    assert space.names() == ["b.png", "b.txt"]
    assert space.binned() == []


def test_the_list_shows_what_came_and_went_and_costs_little(space: Space) -> None:
    assert space.part() == ""
    space.add("a.png")
    space.bin("a.png")
    assert "Bin: 1 image" in space.part() and "a.png" in space.part()
    space.restore()
    assert space.part() == ""


def test_where_the_disk_knows_no_links_nothing_is_overwritten_either(
    space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    space.add("a.png", "old", "navy")
    space.bin("a.png")
    space.add("a.png", "new", "red")
    monkeypatch.setattr(os, "link", no_links)
    space.restore()
    assert (space.images / "a.txt").read_text() == "new"
    assert (space.images / "a-2.txt").read_text() == "old"
