import json
from pathlib import Path
from typing import Any

import pytest

from musabi.dataset.config import read_config
from musabi.dataset.items import scan
from musabi.errors import RequestError


def test_images_are_found_with_their_captions_sizes_and_buckets(folder: Any) -> None:
    folder.add("b.jpg", (80, 40), "  a caption \r\n")
    folder.add("a.PNG", (64, 64))
    folder.add("c.d_e.webp", (40, 80))
    found = scan(folder.config().datasets[0])
    assert [item.key for item in found.items] == ["a", "b", "c.d_e"]
    assert found.items[1].caption == "a caption"
    assert (found.items[1].width, found.items[1].height) == (80, 40)
    assert found.items[1].bucket == (80, 48)
    assert found.items[1].caption_file == folder.images / "b.txt"
    assert not found.without_caption + found.unreadable + found.ignored + found.rotated


def test_only_the_trainers_spellings_of_extensions_count(folder: Any) -> None:
    for name in ("a.png", "b.Jpg", "c.gif", "d.tiff", "e.BMP"):
        folder.add(name)
    (folder.images / "f.heic").write_bytes(b"")
    (folder.images / "notes.md").write_text("no image")
    (folder.images / ".hidden.png").write_bytes(b"")
    found = scan(folder.config().datasets[0])
    assert [item.image.name for item in found.items] == ["a.png", "e.BMP"]
    assert [path.name for path in found.ignored] == ["b.Jpg", "c.gif", "d.tiff", "f.heic"]
    assert not found.without_caption + found.unreadable


def test_subfolders_are_not_looked_into(folder: Any) -> None:
    (folder.images / "10_woman").mkdir()
    folder.add("10_woman/a.png")
    found = scan(folder.config().datasets[0])
    assert found.items == ()
    assert found.ignored == (folder.images / "10_woman",)


def test_the_cache_folder_inside_the_image_folder_is_no_news(folder: Any) -> None:
    cache = folder.images / "cache"
    cache.mkdir()
    folder.add("a.png")
    folder.toml.write_text(
        f'[[datasets]]\nimage_directory = "{folder.images}"\ncache_directory = "{cache}"\n'
        'caption_extension = ".txt"\nenable_bucket = true\n'
    )
    assert scan(read_config(folder.toml).datasets[0]).ignored == ()


def test_images_without_a_caption_and_empty_captions_are_told_apart(folder: Any) -> None:
    bare = folder.add("bare.png", caption=None)
    folder.add("empty.png", caption=" \n")
    folder.add("shout.png", caption=None)
    (folder.images / "shout.TXT").write_text("not .txt to the letter")
    found = scan(folder.config().datasets[0])
    assert found.without_caption == (bare, folder.images / "shout.png")
    assert found.empty_caption == (folder.images / "empty.txt",)
    assert [(item.key, item.caption) for item in found.items] == [("empty", "")]


def test_what_cannot_be_read_is_listed_with_the_reason(folder: Any) -> None:
    (folder.images / "a.png").write_bytes(b"")
    (folder.images / "b.jpg").write_text("no image")
    (folder.images / "c.png").mkdir()
    (folder.images / "d.png").symlink_to(folder.root / "gone")
    for stem in "abcd":
        (folder.images / f"{stem}.txt").write_text("caption")
    folder.add("e.png")
    (folder.images / "e.txt").write_bytes(b"caf\xe9")
    found = scan(folder.config().datasets[0])
    assert [(path.name, reason) for path, reason in found.unreadable] == [
        ("a.png", "is not an image"),
        ("b.jpg", "is not an image"),
        ("c.png", "is a folder"),
        ("d.png", "is not there"),
        ("e.txt", "is not UTF-8 text"),
    ]
    assert found.items == ()


def test_images_of_one_stem_collide(folder: Any) -> None:
    folder.add("a.jpg")
    folder.add("a.png")
    folder.add("b.png")
    found = scan(folder.config().datasets[0])
    assert found.collisions == (("a", (folder.images / "a.jpg", folder.images / "a.png")),)
    assert [item.key for item in found.items] == ["a", "b"]


@pytest.mark.parametrize("name", ["phone.jpg", "phone.png", "phone.webp"])
def test_exif_rotation_is_seen_and_the_stored_size_kept(folder: Any, name: str) -> None:
    image = folder.add(name, (80, 40), orientation=6)
    found = scan(folder.config().datasets[0])
    assert found.rotated == (image,)
    assert (found.items[0].width, found.items[0].height, found.items[0].bucket) == (80, 40, (80, 48))


def jsonl(folder: Any, *lines: str) -> Path:
    path = folder.root / "list.jsonl"
    path.write_text("".join(f"{line}\n" for line in lines))
    folder.toml.write_text(
        f'[[datasets]]\nimage_jsonl_file = "{path}"\ncache_directory = "{folder.cache}"\n'
        "resolution = 64\nenable_bucket = true\n"
    )
    return path


def test_a_jsonl_dataset_takes_captions_as_they_are(folder: Any) -> None:
    image = folder.add("a.gif", caption=None)
    jsonl(folder, json.dumps({"image_path": str(image), "caption": " kept as it is ", "source": "camera"}))
    found = scan(read_config(folder.toml).datasets[0])
    assert [(item.image, item.key, item.caption) for item in found.items] == [(image, "a", " kept as it is ")]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "line 1 is blank"),
        ('{"image_path": "/a.png",}', "line 1, column 2"),
        ("[1]", "line 1 must be an object"),
        ('{"caption": "x"}', "line 1 has no image_path in quotes"),
        ('{"image_path": "/a.png"}', "line 1 has no caption in quotes"),
        ('{"image_path": "a.png", "caption": "x"}', 'image_path must be an absolute path, not "a.png"'),
        ('{"image_path": "/a.png", "caption": "x", "control_path": "/b.png"}', "the model takes none"),
    ],
)
def test_a_wrong_line_of_a_jsonl_file_is_named(folder: Any, line: str, said: str) -> None:
    path = jsonl(folder, line)
    with pytest.raises(RequestError) as caught:
        scan(read_config(folder.toml).datasets[0])
    assert str(caught.value).startswith(f"{path}, ")
    assert said in str(caught.value)


def test_jsonl_images_of_one_stem_in_two_folders_collide(folder: Any) -> None:
    (folder.images / "two").mkdir()
    paths = [folder.add("a.png", caption=None), folder.add("two/a.png", caption=None)]
    jsonl(folder, *(json.dumps({"image_path": str(path), "caption": "x"}) for path in paths))
    assert scan(read_config(folder.toml).datasets[0]).collisions == (("a", tuple(paths)),)
