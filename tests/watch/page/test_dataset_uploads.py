"""Uploads in chunks: on after a break, never over a file, never more than was said, gone when they are in."""

import io
import json
import os
import resource
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from musabi.errors import MachineError, RequestError
from musabi.watch.page import dataset_upload_parts, dataset_uploads
from musabi.watch.page.dataset_upload_parts import Coming, append, bytes_here, coming_of, part_of, places
from small.page import Browser, make_scene, plain_view

HOSTILE = (
    "../../etc/passwd.png",
    "/etc/passwd.png",
    "C:\\windows\\a.png",
    "a/../../b.png",
    "a\\..\\..\\b.png",
    ".hidden.png",
    "a/.git/b.png",
    "nul\0.png",
    "",
    "x" * 600 + ".png",
    "notes.pdf",
    "photos.rar",
)


def picture(colour: str = "navy", side: int = 64) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (side, side), colour).save(out, "PNG")
    return out.getvalue()


class Uploader(Browser):
    """A browser with files to send."""

    def __init__(self, folder: Path) -> None:
        self.scene = make_scene(folder)
        super().__init__(self.scene, (plain_view(routes=dataset_uploads.ROUTES),))
        self.images = self.scene.space.images
        self.parts = self.scene.space.state / "uploads"

    def told(self, name: str, data: bytes, modified: int = 7) -> dict[str, Any]:
        return {"name": name, "size": len(data), "modified": modified}

    def here(self, told: dict[str, Any]) -> int:
        return int(self.client.get("/upload", params=told).json()["offset"])

    def put(self, told: dict[str, Any], offset: object, piece: bytes) -> Any:
        return self.client.put("/upload", params=told | {"offset": offset}, content=piece, headers=self.own)

    def many(self, files: dict[str, bytes]) -> Any:
        listed = [self.told(name, data) for name, data in files.items()]
        body = json.dumps(listed).encode() + b"\n" + b"".join(files.values())
        return self.client.post("/upload-many", content=body, headers=self.own)

    def finish(self, *told: dict[str, Any]) -> Any:
        return self.change("/upload-finish", {"files": list(told)})


@pytest.fixture
def own(tmp_path: Path) -> Uploader:
    return Uploader(tmp_path)


def test_files_that_were_sent_are_in_the_dataset_and_their_parts_are_gone(own: Uploader) -> None:
    files = {"trip/a.png": picture(), "trip/a.txt": b"ohwx on a <b>boat</b>"}
    assert own.many(files).json() == {"ok": True, "refused": []}
    answer = own.finish(*(own.told(name, data) for name, data in files.items()))
    assert (answer.status_code, answer.json()["ok"], answer.json()["over"]) == (200, True, True)
    assert answer.json()["message"].startswith("1 image, 1 caption file in dataset/images.")
    assert "musabi check" not in answer.json()["message"]
    assert (own.images / "a.png").read_bytes() == files["trip/a.png"]
    assert (own.images / "a.txt").read_bytes() == files["trip/a.txt"]
    assert not list(own.parts.iterdir())
    again = own.finish(*(own.told(name, data) for name, data in files.items()))  # an answer that got lost
    assert again.json() == answer.json()


def test_a_server_killed_in_the_middle_of_a_chunk_leaves_a_part_that_goes_on(tmp_path: Path) -> None:
    coming = Coming("a.png", 30_000_000, 1)
    code = (
        "import sys; from pathlib import Path; from musabi.watch.page.dataset_upload_parts import *\n"
        "c = Coming('a.png', 30_000_000, 1); at = 0\n"
        "while True: at = append(Path(sys.argv[1]), c, at, bytes([at // 1_000_000]) * 1_000_000); print(at, flush=True)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline()
    process.kill()
    process.wait()
    at = bytes_here(tmp_path, coming)
    assert 0 < at < coming.size
    while at < coming.size:
        number = at // 1_000_000
        at = append(tmp_path, coming, at, bytes([number]) * ((number + 1) * 1_000_000 - at))
    written = part_of(tmp_path, coming).read_bytes()
    assert written == b"".join(bytes([number]) * 1_000_000 for number in range(30))


def test_a_chunk_that_does_not_fit_changes_nothing_and_tells_where_to_go_on(own: Uploader) -> None:
    told = own.told("a.png", bytes(1000))
    own.put(told, 0, bytes(400))
    for offset in (0, 300, 500, 1000):
        answer = own.put(told, offset, b"x" * 100)
        assert (answer.status_code, answer.json()["offset"]) == (409, 400)
    assert own.here(told) == 400


@pytest.mark.parametrize("offset", ["-1", "x", "", "1e3", "\u0661"])
def test_an_offset_that_is_no_number_is_refused(own: Uploader, offset: str) -> None:
    assert own.put(own.told("a.png", bytes(9)), offset, b"x").status_code == 422


def test_a_chunk_too_many_and_a_chunk_too_long_are_refused(own: Uploader) -> None:
    told = own.told("a.png", bytes(1000))
    own.put(told, 0, bytes(1000))
    assert "More came of a.png" in own.put(told, 1000, b"x").json()["message"]
    assert own.here(told) == 1000
    large = own.told("b.png", b"") | {"size": 100_000_000}
    assert own.put(large, 0, bytes(dataset_uploads.MOST_BODY + 1)).status_code == 422
    assert own.here(large) == 0


@pytest.mark.parametrize("name", HOSTILE)
def test_names_that_lead_elsewhere_are_refused_and_write_nothing(own: Uploader, name: str) -> None:
    told = {"name": name, "size": 3, "modified": 1}
    assert own.put(told, 0, b"abc").status_code == 422
    assert own.finish(told).status_code == 422
    assert [one["name"] for one in own.many({name: b"abc"}).json()["refused"]] == [name]
    assert not own.parts.exists() or not list(own.parts.iterdir())


@pytest.mark.parametrize("size", [-1, "x", None, 10**15])
def test_sizes_that_can_not_be_are_refused(own: Uploader, size: object) -> None:
    with pytest.raises(RequestError):
        coming_of({"name": "a.png", "size": size})


def test_two_tabs_that_send_the_same_file_make_one(own: Uploader) -> None:
    data = picture()
    told = own.told("a.png", data)
    half = len(data) // 2
    own.put(told, 0, data[:half])
    assert own.put(told, 0, data).json()["offset"] == half
    own.put(told, half, data[half:])
    assert own.put(told, half, data[half:]).status_code == 409
    assert len(list(own.parts.glob("*.part"))) == 1


def test_two_uploads_of_one_name_are_both_there_and_over_nothing(own: Uploader) -> None:
    own.images.mkdir(parents=True)
    before, one, other = picture("green"), picture("navy"), picture("red", 80)
    (own.images / "a.png").write_bytes(before)
    for data in (one, other):
        own.put(own.told("a.png", data), 0, data)
    answer = own.finish(own.told("a.png", one), own.told("a.png", other)).json()
    assert "a.png is a-2.png" in answer["message"]
    assert (own.images / "a.png").read_bytes() == before
    assert {file.read_bytes() for file in own.images.iterdir()} == {before, one, other}


def zipped(**files: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in files.items():
            archive.writestr(name.replace("__", "/"), data)
    return out.getvalue()


def test_a_zip_goes_on_where_a_killed_server_left_it_and_is_unpacked(own: Uploader, tmp_path: Path) -> None:
    data = zipped(**{"set__a.png": picture(), "set__a.txt": b"ohwx"})
    told = own.told("photos.zip", data)
    assert own.put(told, 0, data[:100]).json() == {"ok": True, "offset": 100}
    after = Uploader(tmp_path)  # another server on the same volume
    assert after.here(told) == 100
    assert after.client.get("/upload").json()["unfinished"] == [told | {"offset": 100}]
    for at in range(100, len(data), 100):
        assert after.put(told, at, data[at : at + 100]).status_code == 200
    assert after.finish(told).status_code == 200
    assert sorted(file.name for file in after.images.iterdir()) == ["a.png", "a.txt"]
    assert after.client.get("/upload").json()["unfinished"] == []


def test_a_zip_that_leads_out_is_refused_in_words_and_removed(own: Uploader, tmp_path: Path) -> None:
    data = zipped(**{"..__..__evil.png": picture()})
    told = own.told("photos.zip", data)
    own.put(told, 0, data)
    answer = own.finish(told)
    assert answer.status_code == 422
    assert "photos.zip" in answer.json()["message"] and str(own.parts) not in answer.json()["message"]
    assert not list(tmp_path.rglob("evil*")) and not list(own.parts.iterdir())


def test_what_is_not_whole_is_not_brought_in(own: Uploader) -> None:
    data = picture()
    own.put(own.told("a.png", data), 0, data[:-1])
    whole = own.told("b.png", data)
    own.put(whole, 0, data)
    answer = own.finish(own.told("a.png", data), whole)
    assert (answer.status_code, "a.png is not whole" in answer.json()["message"]) == (422, True)
    assert own.here(whole) == len(data)
    assert not own.images.exists() or not list(own.images.iterdir())


def test_cancelling_removes_what_has_come(own: Uploader) -> None:
    told, other = own.told("a.png", bytes(1000)), own.told("b.png", bytes(1000))
    for one in (told, other):
        own.put(one, 0, bytes(10))
    assert own.client.post("/upload-forget", json={"files": [told]}).status_code == 403
    assert own.change("/upload-forget", {"files": [told]}).status_code == 200
    assert (own.here(told), own.here(other)) == (0, 10)


def test_what_nobody_went_on_with_for_a_day_is_removed(own: Uploader) -> None:
    old, new = own.told("old.png", bytes(9)), own.told("new.png", bytes(9))
    for told in (old, new):
        own.put(told, 0, b"x")
    batch = own.parts / "abc.batch"
    batch.mkdir()
    day = time.time() - dataset_upload_parts.KEPT_SECONDS - 60
    for path in (batch, *own.parts.glob(f"{coming_of(old).id}.*")):
        os.utime(path, (day, day))
    dataset_upload_parts.sweep(own.parts)
    assert {path.stem for path in own.parts.iterdir()} == {coming_of(new).id}


def test_a_disk_that_is_too_small_is_said_before_anything_is_sent(
    own: Uploader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("musabi.hub.room.free_bytes", lambda _folder: 100_000_000)
    told = own.told("a.zip", b"") | {"size": 4_000_000_000}
    answer = own.put(told, 0, bytes(100))
    assert answer.status_code == 422
    assert "too small: 4.0 GB are coming" in answer.json()["message"]
    assert own.here(told) == 0


@contextmanager
def most_bytes_of_a_file(number: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (number, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_that_fills_up_keeps_what_came_before_and_goes_on_later(tmp_path: Path) -> None:
    coming = Coming("a.zip", 300_000, 1)
    append(tmp_path, coming, 0, b"a" * 100_000)
    with most_bytes_of_a_file(150_000), pytest.raises(MachineError, match="is full"):
        append(tmp_path, coming, 100_000, b"b" * 100_000)
    assert bytes_here(tmp_path, coming) == 100_000
    append(tmp_path, coming, 100_000, b"b" * 200_000)
    assert part_of(tmp_path, coming).read_bytes() == b"a" * 100_000 + b"b" * 200_000


def test_where_the_machine_can_not_bring_them_in_the_files_need_not_be_sent_again(own: Uploader) -> None:
    data = picture()
    told = own.told("a.png", data)
    own.put(told, 0, data)
    own.images.parent.mkdir(parents=True)
    own.images.write_bytes(b"a file in the folder's place")
    assert own.finish(told).status_code == 422
    own.images.unlink()
    assert own.here(told) == len(data)
    assert own.finish(told).status_code == 200
    assert (own.images / "a.png").read_bytes() == data


def test_a_link_in_a_parts_place_is_not_written_through(tmp_path: Path) -> None:
    coming = Coming("a.png", 10, 1)
    outside = tmp_path / "outside"
    folder = tmp_path / "uploads"
    folder.mkdir()
    part_of(folder, coming).symlink_to(outside)
    with pytest.raises(OSError, match="symbolic"):
        append(folder, coming, 0, b"x")
    assert not outside.exists()


def test_every_file_of_a_batch_gets_a_place_of_its_own_inside() -> None:
    found = places(["a.png", "A.PNG", "x/a.png", "a<b>\"'.png", "con.png", "a.png"])
    assert len({one.casefold() for one in found}) == 6
    for one in found:
        assert not one.startswith("/") and ".." not in one.split("/") and '"' not in one


def test_a_request_without_the_pages_key_writes_nothing(own: Uploader) -> None:
    told = own.told("a.png", b"abc")
    assert own.client.put("/upload", params=told | {"offset": 0}, content=b"abc").status_code == 403
    assert own.client.post("/upload-many", content=b"[]\n").status_code == 403
    assert own.here(told) == 0


def test_a_small_disk_that_is_really_full_says_so(tmp_path: Path) -> None:
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a small tmpfs needs root")
    try:
        with pytest.raises(MachineError, match="too small"):
            append(folder, Coming("a.png", 10, 1), 0, b"x" * 10)
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_long_names_and_names_that_are_no_text_keep_no_other_file_from_coming_in(own: Uploader) -> None:
    long = "\u3042" * 120
    files = {f"{long}.png": picture(), f"{'d' * 300}/b.png": picture("red")}
    bad = own.told("b\ud800.png", picture("green"))
    listed = [bad, *(own.told(name, data) for name, data in files.items())]
    body = json.dumps(listed).encode() + b"\n" + picture("green") + b"".join(files.values())
    answer = own.client.post("/upload-many", content=body, headers=own.own).json()
    assert [one["name"] for one in answer["refused"]] == ["b?.png"]
    done = own.finish(*listed[1:])
    assert done.status_code == 200, done.text
    assert len(list(own.images.glob("*.png"))) == 2
