"""Downloads from a person's own server: resumed, capped, checked at every redirect."""

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from musabi.errors import MachineError, RequestError
from musabi.hub import web
from musabi.hub.web import Ways, download_url, forget
from peers.certificate import certificate, speak_tls
from peers.loopback_files import LoopbackFiles, running_files
from peers.recording_network import RecordingNetwork

CONTENT = random.Random(3).randbytes(3_000_000)  # noqa: S311 - the same bytes each time, no secret
PUBLIC = "93.184.216.34"
SIGNATURE = "?X-Amz-Signature=verysecretsignature"


@pytest.fixture
def files() -> Iterator[LoopbackFiles]:
    with running_files() as running:
        yield running


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def ways(said: list[str]) -> Ways:
    return Ways(allow_private=True, silence_s=2, attempts=3, backoff_s=0.05, say=said.append)


def test_a_file_arrives_whole_under_a_name_of_our_own(
    files: LoopbackFiles, ways: Ways, tmp_path: Path
) -> None:
    url = files.add("/a/photos.zip", CONTENT, Content_Disposition='attachment; filename="../../evil.sh"')
    found = download_url(url, tmp_path / "d", ways)
    assert found.path.read_bytes() == CONTENT
    assert found.name == "photos.zip" and found.path.parent == tmp_path / "d"
    forget(found)
    assert list((tmp_path / "d").iterdir()) == []


@pytest.mark.parametrize(
    ("headers", "name"),
    [
        ({"Content_Disposition": "attachment; filename=x.ZIP"}, "get.zip"),
        ({"Content_Disposition": "attachment; filename*=UTF-8''a%20b.tar"}, "get.tar"),
        ({"Content_Type": "image/png"}, "get.png"),
        ({"Content_Type": "application/octet-stream"}, "get"),
    ],
)
def test_the_extension_comes_from_the_server_where_the_address_has_none(
    headers: dict[str, str], name: str, files: LoopbackFiles, ways: Ways, tmp_path: Path
) -> None:
    assert download_url(files.add("/get", b"x", **headers), tmp_path, ways).name == name


def test_a_connection_that_breaks_is_gone_on_with_where_it_was(
    files: LoopbackFiles, ways: Ways, tmp_path: Path
) -> None:
    url = files.add("/a.zip", CONTENT)
    files.fail("cut", times=2)
    assert download_url(url, tmp_path, ways).path.read_bytes() == CONTENT
    assert [wanted for _, wanted in files.seen] == [None, "bytes=1500000-", "bytes=2250000-"]
    assert files.sent == len(CONTENT)


def test_a_later_call_goes_on_with_what_an_earlier_one_left(
    files: LoopbackFiles, ways: Ways, tmp_path: Path
) -> None:
    url = files.add("/a.zip", CONTENT)
    files.fail("cut")
    files.fail("404")
    with pytest.raises(RequestError, match="is not there"):
        download_url(url, tmp_path, ways)
    assert download_url(url, tmp_path, ways).path.read_bytes() == CONTENT
    assert files.sent == len(CONTENT)
    assert download_url(url, tmp_path, ways).path.read_bytes() == CONTENT  # whole already: 416
    assert files.sent == len(CONTENT)


def test_a_file_that_changed_meanwhile_is_fetched_from_its_start(
    files: LoopbackFiles, ways: Ways, tmp_path: Path
) -> None:
    url = files.add("/a.zip", CONTENT)
    files.fail("cut")
    files.fail("404")
    with pytest.raises(RequestError):
        download_url(url, tmp_path, ways)
    files.add("/a.zip", CONTENT[::-1])
    assert download_url(url, tmp_path, ways).path.read_bytes() == CONTENT[::-1]


def test_a_server_without_ranges_sends_all_of_it_again(
    files: LoopbackFiles, ways: Ways, tmp_path: Path
) -> None:
    files.ranges = False
    url = files.add("/a.zip", CONTENT)
    files.fail("cut", times=2)
    assert download_url(url, tmp_path, ways).path.read_bytes() == CONTENT


def test_a_body_of_unknown_length_is_taken(files: LoopbackFiles, ways: Ways, tmp_path: Path) -> None:
    files.length = False
    assert download_url(files.add("/a.zip", CONTENT), tmp_path, ways).path.read_bytes() == CONTENT


def test_a_busy_server_is_asked_again_and_a_dead_one_named_without_the_signature(
    files: LoopbackFiles, ways: Ways, said: list[str], tmp_path: Path
) -> None:
    url = files.add("/a.zip", CONTENT) + SIGNATURE
    files.fail("503", times=2)
    assert download_url(url, tmp_path, ways).path.read_bytes() == CONTENT
    files.fail("503", times=9)
    with pytest.raises(MachineError, match="the server answered 503, 3 times") as dead:
        download_url(url.replace("a.zip", "b.zip"), tmp_path, ways)
    assert "verysecretsignature" not in str(dead.value) + "".join(said)


def test_a_server_that_is_gone_is_said_so(files: LoopbackFiles, ways: Ways, tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="the connection broke"):
        download_url("http://127.0.0.1:1/a.zip", tmp_path, ways)


@pytest.mark.parametrize(
    ("status", "words"), [("403", "run out"), ("401", "may not be read"), ("410", "not there")]
)
def test_a_refusal_is_final(
    status: str, words: str, files: LoopbackFiles, ways: Ways, tmp_path: Path
) -> None:
    files.fail(status)
    with pytest.raises(RequestError, match=words):
        download_url(files.add("/a.zip", CONTENT), tmp_path, ways)
    assert len(files.seen) == 1


@pytest.mark.parametrize(
    ("host", "words"),
    [("www.dropbox.com", "dl=1"), ("drive.google.com", "upload it here"), ("elsewhere.example", "login")],
)
def test_a_share_link_that_gives_a_page_is_said_so(
    host: str, words: str, files: LoopbackFiles, tmp_path: Path
) -> None:
    files.add("/file/d/1/view", b"<html>", Content_Type="text/html; charset=utf-8")
    outside = RecordingNetwork()
    outside.host(host, PUBLIC, files.url)
    with pytest.raises(RequestError, match=words):
        download_url(f"https://{host}/file/d/1/view", tmp_path, Ways(network=outside.as_network()))


def test_more_than_the_cap_is_refused_by_the_header_and_while_it_comes(
    files: LoopbackFiles, ways: Ways, tmp_path: Path
) -> None:
    small = Ways(allow_private=True, most_bytes=1_000_000, backoff_s=0.05)
    url = files.add("/a.zip", CONTENT)
    with pytest.raises(RequestError, match=r"more than 1\.0 MB"):
        download_url(url, tmp_path, small)
    files.length = False
    with pytest.raises(RequestError, match=r"more than 1\.0 MB"):
        download_url(url, tmp_path, small)


def test_a_disk_without_room_is_said_before_the_download(
    files: LoopbackFiles, ways: Ways, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("musabi.hub.room.free_bytes", lambda _folder: 64 * 1024**2 + 1000)
    with pytest.raises(MachineError, match="too small"):
        download_url(files.add("/a.zip", CONTENT), tmp_path, ways)
    assert not [path for path in tmp_path.iterdir() if path.stat().st_size > 100]


def test_every_redirect_is_checked_again(files: LoopbackFiles, ways: Ways, tmp_path: Path) -> None:
    files.add("/a.zip", CONTENT)
    assert download_url(files.redirect("/old", "/a.zip"), tmp_path, ways).path.read_bytes() == CONTENT
    for to in ("file:///etc/passwd", "ftp://a.example/", "http://93.184.216.34/x"):
        with pytest.raises(RequestError):
            download_url(files.redirect("/old2", to), tmp_path, ways)
    with pytest.raises(RequestError, match="circles"):
        download_url(files.redirect("/loop", "/loop"), tmp_path, ways)


def test_a_redirect_from_outside_does_not_lead_inside(files: LoopbackFiles, tmp_path: Path) -> None:
    """The name leads to a public address; the redirect points at this machine."""
    files.add("/secret.zip", CONTENT)
    files.redirect("/x.zip", f"{files.url}/secret.zip")
    outside = RecordingNetwork()
    outside.host("public.example", PUBLIC, files.url)
    with pytest.raises(RequestError, match="private network"):
        download_url(
            "https://public.example/x.zip", tmp_path, Ways(network=outside.as_network(), backoff_s=0.05)
        )
    assert outside.connects == [(PUBLIC, 443)] and not files.sent


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
def test_over_https_the_name_is_proved_although_the_address_is_connected_to(
    files: LoopbackFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = certificate(tmp_path, "photos.test")
    names = speak_tls(files.server, made)
    monkeypatch.setenv("SSL_CERT_FILE", str(made))
    outside = RecordingNetwork(tls=True)
    for name in ("photos.test", "other.test"):
        outside.host(name, PUBLIC, files.url)
    ways = Ways(network=outside.as_network(), silence_s=2, attempts=3, backoff_s=0.05)
    files.add("/a.zip", CONTENT)
    found = download_url("https://photos.test:8443/a.zip", tmp_path / "d", ways)
    assert found.path.read_bytes() == CONTENT and names == ["photos.test"]
    with pytest.raises(MachineError, match=r"can't prove who it is"):
        download_url("https://other.test:8443/a.zip", tmp_path / "d", ways)
    assert outside.connects == [(PUBLIC, 8443)] * 2


def test_two_downloads_of_one_address_do_not_write_into_one_file(
    files: LoopbackFiles, ways: Ways, tmp_path: Path
) -> None:
    url = files.add("/a.zip", CONTENT)
    first = download_url(url, tmp_path, ways)
    with web._alone(first.path), pytest.raises(RequestError, match="fetched already"):
        download_url(url, tmp_path, ways)
