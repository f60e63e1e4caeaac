"""A dataset comes from its addresses into the job's own folder: sorted, whole, with its captions."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from musabi.children import Cancelled
from musabi.errors import MachineError, RequestError
from musabi.whole import read_json
from peers.archives import picture, tarred, zipped
from peers.intake_job import Job

PNG, RED = picture(), picture(color="red")
VIDEO = b"\0\0\0\x18ftypmp42 a video as far as its name goes"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def left(job: Job) -> list[str]:
    """Return what lies in the dataset folder and where downloads lie."""
    found = [path for base in (job.folder.dataset, job.folder.download) for path in base.rglob("*")]
    return sorted(str(path.relative_to(job.folder.path)) for path in found if path.is_file())


@pytest.mark.parametrize("pack", [zipped, tarred, lambda files: tarred(files, "w:xz")])
def test_a_captioned_dataset_comes_in_from_nested_folders(pack: Callable[..., bytes], job: Job) -> None:
    files = {
        "set/a/1.png": PNG, "set/a/1.txt": b"blue", "set/b/1.PNG": RED, "set/b/1.txt": b"red",
        "set/c/2.tiff": picture("TIFF"), "set/c/2.txt": b"tiff", "__MACOSX/set/._1.png": b"x", ".DS_Store": b"x",
        "set/d/3.bmp": picture("BMP"), "set/d/3.txt": b"bmp",
    }  # fmt: skip
    url = job.add("data.bin", pack(files))  # what it is says its content, not its name
    brought = job.bring({"type": "precaptioned", "images_url": url})
    assert names(job.folder.images) == [
        "1.png", "1.txt", "2.png", "2.txt", "3.bmp", "3.txt", "set_b_1.png", "set_b_1.txt"
    ]  # fmt: skip
    assert (job.folder.images / "set_b_1.txt").read_text() == "red"
    assert (brought.images, brought.videos) == (job.folder.images, None)
    assert (brought.image_count, brought.uncaptioned, brought.left_out) == (4, (), ())
    assert {path.partition("/")[0] for path in left(job)} == {"dataset"}  # the archive is gone


@pytest.mark.parametrize(("kind", "name"), [("images", "1.png"), ("videos", "1.mp4")])
def test_only_the_address_that_the_type_asks_for_is_fetched(kind: str, name: str, job: Job) -> None:
    urls = {
        "images": job.add("i.zip", zipped({"1.png": PNG})),
        "videos": job.add("v.zip", zipped({"1.mp4": VIDEO})),
    }
    brought = job.bring({"type": kind, **{f"{each}_url": url for each, url in urls.items()}})
    assert names(getattr(job.folder, kind)) == [name]
    assert brought.image_count + brought.video_count == 1
    assert len(job.files.seen) == 1


def test_what_a_client_sees_meanwhile_has_no_signature(job: Job) -> None:
    images = job.add("i.zip", zipped({"1.png": PNG}))
    videos = job.add("v.zip", zipped({"1.mp4": VIDEO}))
    job.bring({"type": "both", "images_url": images, "videos_url": videos})
    told = [read_json(path) for path in sorted(job.folder.updates.glob("0*.json"))]
    assert [
        (one["data"]["message"], one["data"]["url"]) for one in told if one["status"] == "DOWNLOADING"
    ] == [
        ("Downloading image dataset", "https://files.example/i.zip"),
        ("Downloading video dataset", "https://files.example/v.zip"),
    ]
    progress = job.folder.progress()
    assert progress is not None and progress["phase"] == "dataset"
    written = [path for path in job.folder.path.rglob("*") if path.is_file()]
    written.remove(job.folder.request_file)  # the client's own words
    assert not any(b"averysecretsignature" in path.read_bytes() for path in written)
    assert "averysecretsignature" not in "".join(job.said)


def test_a_mixed_archive_is_sorted_by_kind(job: Job) -> None:
    files = {
        "x.png": PNG,
        "x.mp4": VIDEO,
        "x.txt": b"both",
        "x.mov": VIDEO,
        "alone.txt": b"?",
        "m.jsonl": b"{}",
    }
    url = job.add("mixed.zip", zipped(files))
    brought = job.bring({"type": "precaptioned", "images_url": url})
    assert names(job.folder.images) == ["x.png", "x.txt"]
    assert names(job.folder.videos) == ["x-2.mp4", "x-2.txt", "x.mov", "x.txt"]
    assert {path.read_text() for path in job.folder.videos.glob("*.txt")} == {"both"}
    assert (brought.image_count, brought.video_count) == (1, 2)
    assert dict(brought.left_out).keys() == {"alone.txt", "m.jsonl"}


def test_an_archive_that_both_name_is_fetched_and_taken_once(job: Job) -> None:
    url = job.add("mixed.zip", zipped({"x.png": PNG, "y.mp4": VIDEO}))
    brought = job.bring({"type": "both", "images_url": url, "videos_url": url})
    assert (brought.image_count, brought.video_count) == (1, 1)
    assert len(job.files.seen) == 1


def test_the_same_names_in_both_archives_keep_their_own_captions(job: Job) -> None:
    images = job.add("i.zip", zipped({"1.png": PNG, "1.txt": b"an image", "2.mp4": VIDEO, "2.txt": b"first"}))
    videos = job.add("v.zip", zipped({"1.mp4": VIDEO, "2.mp4": VIDEO + b"2", "2.txt": b"second"}))
    brought = job.bring({"type": "both", "images_url": images, "videos_url": videos})
    assert names(job.folder.images) == ["1.png", "1.txt"]
    assert names(job.folder.videos) == ["1.mp4", "2-2.mp4", "2-2.txt", "2.mp4", "2.txt"]
    assert (job.folder.videos / "2.txt").read_text() == "first"
    assert [path.name for path in brought.uncaptioned] == ["1.mp4"]


@pytest.mark.parametrize(
    ("kind", "held", "why"),
    [("images", "1.mp4", "is no image"), ("videos", "1.png", "is no video")],
)
def test_an_archive_without_what_its_type_promises_is_refused(
    kind: str, held: str, why: str, job: Job
) -> None:
    url = job.add("a.zip", zipped({held: PNG if held.endswith("png") else VIDEO}))
    with pytest.raises(RequestError, match="No images/videos found in directory") as refused:
        job.bring({"type": kind, f"{kind}_url": url})
    assert f"dataset.{kind}_url holds no {kind}" in str(refused.value) and why in str(refused.value)


def test_videos_in_a_dataset_of_images_are_left_out_and_named(job: Job) -> None:
    url = job.add("a.zip", zipped({"1.png": PNG, "clip.mp4": VIDEO, "clip.txt": b"c"}))
    brought = job.bring({"type": "images", "images_url": url})
    assert brought.videos is None and names(job.folder.dataset) == ["images"]
    assert brought.left_out == (("clip.mp4", "is no image, which dataset.type asks for"),)


def test_a_playlist_under_a_videos_name_is_no_video(job: Job) -> None:
    """The video library would open the files that it names."""
    playlist = b"#EXTM3U\n#EXTINF:1\nfile:///etc/passwd\n"
    url = job.add("v.zip", zipped({"1.mp4": VIDEO, "2.mp4": playlist, "3.avi": b"RIFF\0\0\0\0AVI LIST"}))
    brought = job.bring({"type": "videos", "videos_url": url})
    assert names(job.folder.videos) == ["1.mp4", "3.avi"]
    assert brought.left_out == (("2.mp4", "is no video, whatever its name says"),)


@pytest.mark.parametrize(
    "text",
    [
        b"#EXTM3U\nAVI \n#EXTINF:1\nfile:///etc/passwd\n",
        b"<!--ftyp--><MPD><BaseURL>http://169.254.169.254/</BaseURL></MPD>",
        b"v=0\nfree\nc=IN IP4 10.0.0.1\nm=video 5004 RTP/AVP 96\n",
        b"ffcomoovAVI version 1.0\nfile /etc/passwd\n",
    ],
)
def test_a_text_that_bears_the_sign_of_a_video_is_none(job: Job, text: bytes) -> None:
    url = job.add("v.zip", zipped({"1.mp4": VIDEO, "2.avi": text}))
    job.bring({"type": "videos", "videos_url": url})
    assert names(job.folder.videos) == ["1.mp4"]


def test_an_archive_with_nothing_in_it_is_said(job: Job) -> None:
    for content in (zipped({}), zipped({"readme.md": b"x"}), zipped({"1.txt": b"caption"})):
        with pytest.raises(RequestError, match="No images/videos found in directory"):
            job.bring({"type": "images", "images_url": job.add("a.zip", content)})


def test_captions_that_are_missing_are_counted_and_named(job: Job) -> None:
    files = {f"{number}.png": PNG for number in range(8)} | {
        "0.txt": b"one",
        "1.txt": b" \n",
        "2.caption": b"two",
    }
    url = job.add("a.zip", zipped(files))
    with pytest.raises(RequestError, match=r"6 of 8 files have no caption: 1\.png, 3\.png") as refused:
        job.bring({"type": "precaptioned", "images_url": url})
    assert "and 1 more" in str(refused.value)
    brought = job.bring({"type": "images", "images_url": url})
    assert [path.name for path in brought.uncaptioned] == [f"{number}.png" for number in (1, 3, 4, 5, 6, 7)]
    assert (job.folder.images / "2.txt").read_text() == "two"


def test_captions_in_other_encodings_become_utf8(job: Job) -> None:
    files = {
        "1.png": PNG,
        "1.txt": "Zoë, a café".encode("utf-16"),
        "2.png": RED,
        "2.txt": "Zoë".encode("cp1252"),
    }
    job.bring({"type": "precaptioned", "images_url": job.add("a.zip", zipped(files))})
    assert (job.folder.images / "1.txt").read_text(encoding="utf-8") == "Zoë, a café"
    assert (job.folder.images / "2.txt").read_text(encoding="utf-8") == "Zoë"


# What a server does


def test_a_download_that_was_called_off_goes_on_in_the_next_try(job: Job) -> None:
    content = zipped({"1.png": PNG, "noise.txt": bytes(range(256)) * 8000}, 0)
    url = job.add("a.zip", content)
    job.files.bytes_per_second = 1_000_000
    threading.Timer(0.4, job.stop.set).start()
    with pytest.raises(Cancelled):
        job.bring({"type": "images", "images_url": url})
    job.files.bytes_per_second = 0
    job.stop.clear()
    job.folder.images.mkdir(parents=True)
    (job.folder.images / "stale.png").write_bytes(PNG)  # as a try that was killed later leaves it
    assert job.bring({"type": "images", "images_url": url}).image_count == 1
    assert names(job.folder.images) == ["1.png"]
    here = re.fullmatch(r"bytes=(\d+)-", job.files.seen[-1][1] or "")
    assert here and 0 < int(here[1]) < len(content)


def test_a_try_that_is_killed_at_any_moment_leaves_nothing_in_the_way(job: Job) -> None:
    files = {f"{number}.png": picture(color=f"#{number:06x}") for number in range(60)}
    url = job.add("a.zip", zipped(files | {"v.mp4": VIDEO, "v.txt": b"a clip"}))
    dataset = {"type": "precaptioned", "images_url": url}
    for delay in (0.0, 0.03, 0.06, 0.09, 0.12, 0.2):
        child = os.fork()
        if child == 0:
            with contextlib.suppress(BaseException):
                job.bring({**dataset, "type": "images"})
            os._exit(0)
        time.sleep(delay)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    brought = job.bring({**dataset, "type": "both", "videos_url": url})
    assert (brought.image_count, brought.video_count) == (60, 1)
    assert names(job.folder.images) == sorted(files)
    assert names(job.folder.videos) == ["v.mp4", "v.txt"]
    assert names(job.folder.dataset) == ["images", "videos"] and not job.folder.download.exists()


def test_the_products_own_network_can_be_replaced_before_it_runs(job: Job) -> None:
    """As a test's own program for the whole path does it, in the process that does the job."""
    job.add("a.zip", zipped({"1.png": PNG}))
    job.folder.make("job-1", {})
    code = f"""
import sys
from pathlib import Path
from peers.work_on_loopback import use_loopback
from peers.intake_job import Job
from musabi.serverless.intake.bring import bring
from musabi.serverless.job_folder import JobFolder
network = use_loopback({{"files.example": {job.files.url!r}}})
job = Job(JobFolder(Path({str(job.folder.path)!r})), None, network)
bring(job.context({{"type": "images", "images_url": "https://files.example/a.zip"}}))
print(network.connects)
"""
    environ = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environ, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.strip() == "[('93.184.216.1', 443)]", done.stderr
    assert names(job.folder.images) == ["1.png"]


def test_redirects_are_followed_outside_and_not_inside(job: Job) -> None:
    job.add("a.zip", zipped({"1.png": PNG}))
    job.files.redirect("/old", "https://files.example/a.zip")
    assert job.bring({"type": "images", "images_url": "https://files.example/old"}).image_count == 1
    job.files.redirect("/in", f"{job.files.url.replace('http', 'https')}/a.zip")
    job.network.connects.clear()
    with pytest.raises(RequestError, match=r"Failed to download dataset: 127.0.0.1 is an address inside"):
        job.bring({"type": "images", "images_url": "https://files.example/in"})
    assert job.network.connects == [("93.184.216.34", 443)]


def test_no_setting_of_the_endpoint_opens_addresses_inside(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    from musabi.serverless.intake.bring import bring

    for name in ("ALLOW_PRIVATE", "MUSABI_ALLOW_PRIVATE", "ENDPOINT_ALLOW_PRIVATE"):
        monkeypatch.setenv(name, "1")
    job.files.add("/a.zip", zipped({"1.png": PNG}))
    with pytest.raises(RequestError, match="Failed to download dataset") as refused:
        bring(job.context({"type": "images", "images_url": f"{job.files.url}/a.zip"}))
    assert "--allow-private" not in str(refused.value) and job.files.seen == []


def test_more_than_the_largest_dataset_is_not_fetched(job: Job) -> None:
    url = job.add("a.zip", zipped({"1.png": PNG, "n.txt": bytes(2_000_000)}, 0))
    with pytest.raises(RequestError, match=r"Failed to download dataset: .* more than 1\.0 MB"):
        job.bring({"type": "images", "images_url": url}, endpoint_most_dataset_gb=0.001)


def test_files_that_unpack_to_far_more_are_refused(job: Job) -> None:
    url = job.add("a.zip", zipped({"1.png": PNG, "n.txt": bytes(3_000_000)}))
    with pytest.raises(RequestError, match=r"Failed to unpack dataset: dataset.images_url unpacks to more"):
        job.bring({"type": "images", "images_url": url}, endpoint_most_dataset_gb=0.001)
    assert left(job) == []


def test_a_web_page_is_said_so(job: Job) -> None:
    job.files.add("/page", b"<html>", Content_Type="text/html")
    with pytest.raises(RequestError, match=r"Failed to download dataset: .* is a web page"):
        job.bring({"type": "images", "images_url": "https://files.example/page"})


def test_a_host_that_nobody_knows_is_the_machines_fault(job: Job) -> None:
    with pytest.raises(MachineError, match=r"Failed to download dataset: The name nowhere.example"):
        job.bring({"type": "images", "images_url": "https://nowhere.example/a.zip"})


def test_a_request_without_an_address_is_refused(job: Job) -> None:
    with pytest.raises(
        RequestError, match=r"No images/videos found in directory: the request names no dataset"
    ):
        job.bring({"type": "precaptioned"})
