"""Images from an address, the hub, S3 or this machine, all by the same door into the dataset folder."""

import io
import os
import random
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from musabi.dataset.bring_in import Bringing, bring_in, counted, downloads
from musabi.errors import MachineError, RequestError
from musabi.hub.web import Ways
from peers.loopback_files import LoopbackFiles, running_files
from peers.loopback_hub import LoopbackHub, running_hub


def picture(color: str) -> bytes:
    written = io.BytesIO()
    Image.new("RGB", (8, 8), color).save(written, "PNG")
    return written.getvalue()


def pack(files: dict[str, bytes]) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return written.getvalue()


BLUE, RED = picture("blue"), picture("red")
PHOTOS = pack({"a/1.png": BLUE, "a/1.txt": b"blue", "b/1.png": RED, "b/1.txt": b"red"})
FOUR = ["1.png", "1.txt", "b_1.png", "b_1.txt"]


@pytest.fixture
def files() -> Iterator[LoopbackFiles]:
    with running_files() as running:
        yield running


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    with running_hub() as running:
        yield running


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return tmp_path / "dataset" / "images"


@pytest.fixture
def how(tmp_path: Path) -> Bringing:
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "HF_HOME": str(tmp_path / "hf")}
    return Bringing(environ, ways=Ways(allow_private=True, silence_s=2, attempts=3, backoff_s=0.05))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def hidden(images: Path) -> list[str]:
    return [name for name in names(images.parent) if name.startswith(".")]


def test_a_zip_behind_an_address_comes_in_and_leaves_nothing_else(
    files: LoopbackFiles, images: Path, how: Bringing
) -> None:
    brought = bring_in(files.add("/photos.zip", PHOTOS), images, how)
    assert names(images) == FOUR and hidden(images) == []
    assert (brought.images, brought.captions) == (2, 2)
    assert counted(images) == (2, 0)


def test_one_image_behind_an_address_gets_its_name(files: LoopbackFiles, images: Path, how: Bringing) -> None:
    bring_in(files.add("/x/me.png", BLUE), images, how)
    bring_in(files.add("/get", RED, Content_Type="image/png"), images, how)
    assert names(images) == ["get.png", "me.png"]
    assert counted(images) == (0, 2)


def test_an_archive_that_is_refused_is_not_kept(files: LoopbackFiles, images: Path, how: Bringing) -> None:
    with pytest.raises(RequestError, match="leads out"):
        bring_in(files.add("/evil.zip", pack({"../x.png": BLUE})), images, how)
    assert names(images) == [] and hidden(images) == []


def test_a_private_address_takes_a_word_more(files: LoopbackFiles, images: Path, how: Bringing) -> None:
    url = files.add("/photos.zip", PHOTOS)
    with pytest.raises(RequestError, match="--allow-private"):
        bring_in(url, images, Bringing(how.environ))
    assert files.seen == [] and names(images) == []


def test_a_dataset_of_the_hub_comes_in_with_the_archives_in_it(
    hub: LoopbackHub, images: Path, how: Bringing
) -> None:
    hub.add(
        "me/photos",
        {"x/1.png": BLUE, "x/1.txt": b"c", "more.zip": pack({"1.png": RED}), "a.parquet": b"PAR1"},
    )
    environ = dict(how.environ) | {"HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_XET": "1"}
    bring_in("hf:dataset/me/photos", images, Bringing(environ))
    assert names(images) == ["1.png", "x_1.png", "x_1.txt"]
    assert hidden(images) == [] and not hub.bodies("a.parquet")


def test_a_dataset_that_is_not_there_is_named(hub: LoopbackHub, images: Path, how: Bringing) -> None:
    environ = dict(how.environ) | {"HF_ENDPOINT": hub.url}
    with pytest.raises(MachineError, match="me/none"):
        bring_in("hf:dataset/me/none", images, Bringing(environ))
    with pytest.raises(RequestError, match="names no repo"):
        bring_in("hf:none", images, Bringing(environ))


@pytest.fixture(scope="module")
def s3() -> Iterator[Any]:
    moto = pytest.importorskip("moto.server")
    running = moto.ThreadedMotoServer(port=0, verbose=False)
    running.start()
    yield f"http://127.0.0.1:{running.get_host_and_port()[1]}"
    running.stop()


@pytest.fixture
def bucket(s3: str, how: Bringing) -> tuple[Any, Bringing]:
    from musabi.hub.s3 import Bucket

    environ = dict(how.environ) | {
        "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": "averysecretkey", "AWS_ENDPOINT_URL": s3,
    }  # fmt: skip
    client = Bucket("photos", environ)._client
    client.create_bucket(Bucket="photos")
    return client, Bringing(environ)


def test_a_zip_and_a_prefix_of_a_bucket_come_in(bucket: tuple[Any, Bringing], images: Path) -> None:
    client, how = bucket
    client.put_object(Bucket="photos", Key="in/photos.zip", Body=PHOTOS)
    client.put_object(Bucket="photos", Key="set/a/1.png", Body=BLUE)
    client.put_object(Bucket="photos", Key="set/../../../evil.png", Body=RED)
    client.put_object(Bucket="photos", Key="set/notes.json", Body=b"{}")
    client.put_object(Bucket="photos", Key="settings/2.png", Body=RED)
    bring_in("s3://photos/in/photos.zip", images, how)
    assert names(images) == FOUR
    bring_in("s3://photos/set", images / "more", how)
    assert names(images / "more") == ["1.png"] and not list(images.parents[1].rglob("evil.png"))
    assert hidden(images) == [] and hidden(images / "more") == []


def test_an_empty_prefix_is_said(bucket: tuple[Any, Bringing], images: Path) -> None:
    with pytest.raises(RequestError, match="holds no image"):
        bring_in("s3://photos/nothing/here", images, bucket[1])


def test_what_of_a_prefix_is_here_is_not_fetched_again(
    bucket: tuple[Any, Bringing], images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from musabi.hub.s3 import Bucket

    client, how = bucket
    for number in range(4):
        content = picture("green") + bytes(number)
        client.put_object(Bucket="photos", Key=f"four/{number}.png", Body=content)
    fetched: list[str] = []
    real = Bucket.get

    def breaks_once(self: Bucket, key: str, *rest: Any) -> None:
        fetched.append(key)
        if len(fetched) == 3:
            raise MachineError("the network went away")
        real(self, key, *rest)

    monkeypatch.setattr(Bucket, "get", breaks_once)
    with pytest.raises(MachineError):
        bring_in("s3://photos/four", images, how)
    assert names(images) == [] and len(names(downloads(images, "s3://photos/four"))) == 2
    bring_in("s3://photos/four", images, how)
    assert fetched == [f"four/{number}.png" for number in (0, 1, 2, 2, 3)]
    assert len(names(images)) == 4


def test_paths_of_this_machine_come_in_by_the_same_door(images: Path, how: Bringing, tmp_path: Path) -> None:
    (tmp_path / "photos.zip").write_bytes(PHOTOS)
    bring_in(str(tmp_path / "photos.zip"), images, how)
    assert names(images) == FOUR
    with pytest.raises(RequestError, match="ftp://"):
        bring_in("ftp://a.example/x.zip", images, how)


def test_a_large_download_is_random_enough_to_notice_a_mixed_up_piece(
    files: LoopbackFiles, images: Path, how: Bringing
) -> None:
    noise = random.Random(4).randbytes(2_000_000)  # noqa: S311 - the same bytes each time, no secret
    url = files.add("/v.zip", pack({"v.mp4": noise}))
    files.fail("cut", times=2)
    bring_in(url, images, how)
    assert (images / "v.mp4").read_bytes() == noise
