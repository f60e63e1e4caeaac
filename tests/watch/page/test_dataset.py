"""The Dataset view: all captions in one answer, then what changed; saved, changed together and taken back."""

import os
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from musabi.watch.page import dataset_catalogue
from musabi.watch.page.dataset import DATASET
from small.page import Browser, make_scene, plain_view
from small.standing import HOSTILE

NAMES = ("a", "b", "c")


class Folder:
    """A workspace with three images, two of them captioned, and a browser that shows it."""

    def __init__(self, folder: Path) -> None:
        self.scene = make_scene(folder)
        self.root = self.scene.space.root
        self.images = self.scene.space.images
        self.images.mkdir(parents=True)
        self.picture(*(f"{name}.png" for name in NAMES))
        self.caption("a", "a dog\n")
        self.caption("b", f"{HOSTILE}\n")
        self.browser = Browser(self.scene, (plain_view(parts=DATASET.parts, routes=DATASET.routes),))

    def picture(self, *names: str) -> None:
        for name in names:
            Image.new("RGB", (64, 48), "red").save(self.images / name)

    def caption(self, name: str, text: str) -> None:
        (self.images / f"{name}.txt").write_text(text)

    def text(self, name: str) -> str:
        return (self.images / f"{name}.txt").read_text()

    def toml(self, *tables: str) -> None:
        self.scene.settings.dataset_config.write_text("\n".join(f"[[datasets]]\n{table}" for table in tables))

    def captions(self, since: str = "") -> dict[str, Any]:
        found: dict[str, Any] = self.browser.get(f"/captions?since={since}").json()
        return found

    def save(self, name: str, text: str, began_from: str) -> Any:
        given = {"file": f"dataset/images/{name}.png", "text": text, "hash": began_from}
        return self.browser.change("/caption", given)


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    monkeypatch.setattr(dataset_catalogue, "SECONDS", 0.0)  # every look is at every file
    return Folder(tmp_path)


def of(name: str) -> str:
    return f"dataset/images/{name}.png"


def test_the_page_is_shown_with_its_grid_and_every_part(there: Folder) -> None:
    answer = Browser(there.scene, (DATASET,)).get("/dataset")
    assert answer.status_code == 200
    assert "<strong>3</strong> images" in answer.text
    assert "1 without a caption" in answer.text
    assert HOSTILE not in answer.text


def test_without_a_toml_the_image_folder_is_shown(there: Folder) -> None:
    found = there.captions()
    assert found["groups"] == [
        {"title": "dataset/images", "remark": "", "files": [of(name) for name in NAMES]}
    ]
    assert [found["captions"][of(name)]["text"] for name in NAMES] == ["a dog", HOSTILE, ""]
    assert found["remark"] == ""


def test_every_dataset_of_the_toml_has_its_heading_and_its_extension(there: Folder) -> None:
    other = there.root / "more"
    other.mkdir()
    (there.images / "a.png").rename(other / "x.png")
    (other / "x.caption").write_text("a cat")
    cache = f'cache_directory = "{there.root}/cache'
    there.toml(
        f'image_directory = "{there.images}"\ncaption_extension = ".txt"\n{cache}1"',
        f'image_directory = "{other}"\ncaption_extension = ".caption"\n{cache}2"',
    )
    found = there.captions()
    assert [(one["title"], one["files"]) for one in found["groups"]] == [
        ("Dataset 1: dataset/images", [of("b"), of("c")]),
        ("Dataset 2: more", ["more/x.png"]),
    ]
    saved = there.browser.change(
        "/caption", {"file": "more/x.png", "text": "a cow", "hash": found["captions"]["more/x.png"]["hash"]}
    )
    assert saved.status_code == 200
    assert (other / "x.caption").read_text() == "a cow\n"


def test_a_toml_that_can_not_be_read_says_so_above_the_usual_folder(there: Folder) -> None:
    there.toml('image_directory = "/nowhere"')
    found = there.captions()
    assert "/nowhere" in found["remark"]
    assert len(found["captions"]) == 3


def test_a_jsonl_is_shown_and_not_changed(there: Folder) -> None:
    jsonl = there.root / "list.jsonl"
    jsonl.write_text(f'{{"image_path": "{there.images}/a.png", "caption": "from the list"}}\n')
    there.toml(f'image_jsonl_file = "{jsonl}"\ncache_directory = "{there.root}/cache"')
    found = there.captions()
    assert "JSONL" in found["groups"][0]["remark"]
    assert found["captions"] == {
        of("a"): found["captions"][of("a")] | {"text": "from the list", "fixed": True},
    }
    refused = there.save("a", "other", "")
    assert (refused.status_code, "JSONL" in refused.json()["message"]) == (422, True)
    plan = there.browser.change("/captions-plan", {"kind": "add_trigger", "word": "sks"}).json()
    assert plan["changes"] == 0
    assert there.text("a") == "a dog\n"


def test_images_outside_the_workspace_are_not_shown(there: Folder, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "a.png").write_bytes(b"1")
    (outside / "secret.txt").write_text("secret")
    there.toml(f'image_directory = "{outside}"\ncaption_extension = ".txt"')
    found = there.captions()
    assert found["captions"] == {}
    assert "outside the workspace" in found["groups"][0]["remark"]
    there.scene.settings.dataset_config.unlink()
    (there.images / "a.txt").unlink()
    (there.images / "a.txt").symlink_to(outside / "secret.txt")
    entry = there.captions()["captions"][of("a")]
    assert (entry["text"], "outside" in entry["problem"]) == ("", True)
    assert there.save("a", "x", entry["hash"]).status_code == 422
    assert (outside / "secret.txt").read_text() == "secret"


def test_a_second_look_brings_only_what_changed(there: Folder) -> None:
    first = there.captions()
    assert there.captions(first["version"]) == {"version": first["version"], "captions": {}, "undo": None}
    there.caption("b", "changed by another program\n")
    second = there.captions(first["version"])
    assert {name: one["text"] for name, one in second["captions"].items()} == {
        of("b"): "changed by another program"
    }
    assert "groups" not in second
    there.picture("d.png")
    (there.images / "a.png").unlink()
    third = there.captions(second["version"])
    assert third["groups"][0]["files"] == [of("b"), of("c"), of("d")]
    assert list(third["captions"]) == [of("d")]
    assert len(there.captions("of-another-server")["captions"]) == 3


def test_a_look_reads_no_file_where_nothing_changed(there: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    first = there.captions()

    def never(*_: object) -> None:
        raise AssertionError("a caption was read again")

    monkeypatch.setattr(dataset_catalogue, "read_caption", never)
    monkeypatch.setattr(dataset_catalogue, "find_pictures", never)
    assert there.captions(first["version"])["captions"] == {}
    monkeypatch.setattr(dataset_catalogue, "SECONDS", 1_000.0)
    there.captions()
    monkeypatch.setattr(dataset_catalogue, "_entry", never)
    assert there.captions(first["version"])["captions"] == {}


def test_two_tabs_do_not_overwrite_each_other(there: Folder) -> None:
    began_from = there.captions()["captions"][of("a")]["hash"]
    first = there.save("a", "from the first tab", began_from)
    assert first.json() | {"undo": None} == {
        "ok": True,
        "text": "from the first tab",
        "hash": there.captions()["captions"][of("a")]["hash"],
        "undo": None,
    }
    second = there.save("a", "from the second tab", began_from)
    assert second.status_code == 409
    assert second.json()["now"] == {"text": "from the first tab", "hash": first.json()["hash"]}
    assert there.text("a") == "from the first tab\n"
    assert there.save("a", "from the second tab", second.json()["now"]["hash"]).status_code == 200
    assert there.text("a") == "from the second tab\n"


def test_saved_captions_are_taken_back_one_by_one(there: Folder) -> None:
    began_from = there.captions()["captions"][of("a")]["hash"]
    there.save("a", "first", began_from)
    undo = there.save("c", "the first caption of c", "").json()["undo"]
    assert undo["title"] == "caption of c.png"
    answer = there.browser.change("/captions-undo", {"id": undo["id"]}).json()
    assert not (there.images / "c.txt").exists()
    assert (answer["message"], answer["undo"]["title"]) == (
        "1 caption put back as before.",
        "caption of a.png",
    )
    assert there.browser.change("/captions-undo", {"id": undo["id"]}).status_code == 422
    there.browser.change("/captions-undo", {"id": answer["undo"]["id"]})
    assert there.text("a") == "a dog\n"
    assert (
        there.browser.change("/captions-undo", {"id": "x"}).json()["message"]
        == "There is nothing to take back."
    )


def test_what_is_saved_as_it_was_is_no_step(there: Folder) -> None:
    began_from = there.captions()["captions"][of("a")]["hash"]
    assert there.save("a", "a dog", began_from).json()["undo"] is None


def test_a_change_to_all_is_shown_then_made_then_taken_back(there: Folder) -> None:
    plan = there.browser.change("/captions-plan", {"kind": "add_trigger", "word": "ohwx"}).json()
    assert (plan["changes"], plan["of"], plan["without"]) == (2, 2, 1)
    assert plan["samples"][0] == {"file": of("a"), "before": "a dog", "after": "ohwx, a dog"}
    there.caption("b", "by somebody else\n")
    done = there.browser.change("/captions-change", {"id": plan["id"]}).json()
    assert (done["changed"], done["left"]) == (1, [of("b")])
    assert "b.png" in done["message"]
    assert (there.text("a"), there.text("b")) == ("ohwx, a dog\n", "by somebody else\n")
    there.browser.change("/captions-undo", {"id": done["undo"]["id"]})
    assert there.text("a") == "a dog\n"


def test_only_pictures_of_the_dataset_are_captioned(there: Folder) -> None:
    for file in ("../a.png", "dataset/images/z.png", "dataset/images/a.txt", "/etc/passwd", ""):
        answer = there.browser.change("/caption", {"file": file, "text": "x", "hash": ""})
        assert (answer.status_code, "not in the dataset" in answer.json()["message"]) == (422, True)


def test_a_thumbnail_is_made_once_and_kept_by_the_browser(there: Folder) -> None:
    v = there.captions()["captions"][of("a")]["v"]
    answer = there.browser.get(f"/thumbnail?file={of('a')}&v={v}")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/jpeg")
    assert "immutable" in answer.headers["cache-control"]
    (kept,) = there.scene.thumbnails.iterdir()
    made = kept.stat().st_mtime_ns
    assert there.browser.get(f"/thumbnail?file={of('a')}").headers["cache-control"] == "no-cache"
    assert [one.stat().st_mtime_ns for one in there.scene.thumbnails.iterdir()] == [made]
    os.utime(there.images / "a.png", ns=(5, 5))
    there.browser.get(f"/thumbnail?file={of('a')}")
    assert len(list(there.scene.thumbnails.iterdir())) == 2
    assert there.captions()["captions"][of("a")]["v"] != v


def test_a_picture_is_shown_as_what_it_is_and_never_as_a_page(there: Folder) -> None:
    answer = there.browser.get(f"/picture?file={of('a')}")
    assert answer.headers["content-type"] == "image/png"
    assert answer.content == (there.images / "a.png").read_bytes()
    (there.images / "x.svg").write_text("<svg onload='alert(1)'/>")
    for file in ("dataset/images/x.svg", "dataset/images/a.txt", "../ws/dataset/images/a.png"):
        for route in ("picture", "thumbnail"):
            answer = there.browser.get(f"/{route}?file={file}")
            assert answer.status_code in (404, 415)
            assert answer.headers["content-type"].startswith("text/plain")


def test_long_answers_are_packed(there: Folder) -> None:
    for name in NAMES:
        there.caption(name, "a long caption " * 1_000)
    packed = there.browser.get("/captions", **{"accept-encoding": "gzip"})
    assert packed.headers["content-encoding"] == "gzip"
    assert int(packed.headers["content-length"]) < 5_000
    assert len(packed.json()["captions"]) == 3
    plain = there.browser.get("/captions", **{"accept-encoding": "identity"})
    assert "content-encoding" not in plain.headers


@pytest.mark.parametrize("since", ["the start", "the last look"])
def test_a_link_to_a_place_outside_is_never_written_through(
    there: Folder, tmp_path: Path, since: str
) -> None:
    outside = tmp_path / "outside.txt"
    if since == "the last look":
        there.captions()
    (there.images / "c.txt").symlink_to(outside)
    if since == "the start":
        assert "outside" in there.captions()["captions"][of("c")]["problem"]
    answer = there.save("c", "mine", "")
    assert (answer.status_code, outside.exists()) == (422, False)
    assert "outside the workspace" in answer.json()["message"]
    outside.write_text("a secret")
    assert "a secret" not in there.save("c", "mine", "").text


def test_a_named_pipe_beside_an_image_holds_no_page_up(there: Folder) -> None:
    os.mkfifo(there.images / "c.txt")
    assert "no plain file" in there.captions()["captions"][of("c")]["problem"]
