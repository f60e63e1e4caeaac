"""Publishing to the hub by the real client: private, one commit, nothing twice, every refusal in plain words."""

import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from musabi.children import Cancelled
from musabi.errors import RequestError
from musabi.hub.access import Access
from musabi.hub.destination import HubPlace
from musabi.hub.faults import HubError
from musabi.hub.parcel import Piece, Sent, piece
from musabi.hub.to_hub import require_writer, send_to_hub
from peers.loopback_hub_uploads import UploadHub, running_upload_hub

TOKEN = "hf_averysecrettoken1234567890"
PLACE = HubPlace("tester/lora")
BIG, CARD = "lora.safetensors", "README.md"


@pytest.fixture
def hub() -> Iterator[UploadHub]:
    with running_upload_hub() as running:
        running.tokens = {TOKEN: "write", "hf_onlyreads123": "read"}
        yield running


@pytest.fixture
def pieces(tmp_path: Path) -> list[Piece]:
    big, card = tmp_path / "big", tmp_path / "card"
    big.write_bytes(random.Random(5).randbytes(2_300_000))  # noqa: S311 - the same bytes each time, no secret
    card.write_text('---\nlicense: "mit"\n---\n\n# A card\n')
    return [piece(BIG, big), piece(CARD, card)]


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def send(hub: UploadHub, pieces: list[Piece], said: list[str], tmp_path: Path) -> Callable[..., Sent]:
    def sending(
        public: bool = False, stall_s: float = 60, place: HubPlace = PLACE, **environment: str
    ) -> Sent:
        environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "HF_ENDPOINT": hub.url,
            "HF_TOKEN": TOKEN,
        }
        access = Access(environ | environment, stall_s=stall_s, backoff_s=0.05, attempts=3)
        return send_to_hub(pieces, place, access, "lora", public=public, say=said.append)

    return sending


def test_a_repo_is_made_private_and_filled_by_one_commit(
    hub: UploadHub, send: Callable[..., Sent], pieces: list[Piece]
) -> None:
    sent = send()
    assert sent == Sent(f"{hub.url}/tester/lora", (BIG, CARD), ())
    assert hub.private == {"tester/lora": True}
    assert hub.commits == [("Publish lora with musabi", sorted([BIG, CARD]))]
    assert hub.repos["tester/lora"].files[BIG] == pieces[0].path.read_bytes()
    assert sum(hub.received.values()) >= pieces[0].size


def test_public_is_only_on_request(hub: UploadHub, send: Callable[..., Sent]) -> None:
    send(public=True)
    assert hub.private == {"tester/lora": False}
    with pytest.raises(RequestError, match="everybody can see it"):
        send()
    assert len(hub.commits) == 1


def test_public_opens_a_repo_that_was_private(hub: UploadHub, send: Callable[..., Sent]) -> None:
    send()
    assert hub.private == {"tester/lora": True}
    send(public=True)
    assert hub.private == {"tester/lora": False}


@pytest.mark.parametrize("password", ["changed", "uploaded", "lora.safetensors", "safetensors"])
def test_a_password_that_is_a_word_of_the_child_changes_nothing(
    password: str, send: Callable[..., Sent], hub: UploadHub, said: list[str]
) -> None:
    assert send(JUPYTER_PASSWORD=password) == Sent(f"{hub.url}/tester/lora", (BIG, CARD), ())
    assert not any(password in line for line in said)


def test_what_is_there_is_not_sent_again(
    hub: UploadHub, send: Callable[..., Sent], pieces: list[Piece]
) -> None:
    send()
    before = dict(hub.received)
    assert send() == Sent(f"{hub.url}/tester/lora", (), (BIG, CARD))
    pieces[1].path.write_text('---\nlicense: "mit"\n---\n\n# Another card\n')
    pieces[1] = piece(CARD, pieces[1].path)
    assert send().sent == (CARD,)
    assert hub.received == before
    assert [changed for _, changed in hub.commits] == [sorted([BIG, CARD]), [CARD]]


def test_a_large_file_that_arrived_before_a_failed_commit_is_not_sent_again(
    hub: UploadHub, send: Callable[..., Sent], pieces: list[Piece]
) -> None:
    hub.fail("403", method="POST", path="/commit/", times=1)
    with pytest.raises(HubError):
        send()
    arrived = dict(hub.received)
    assert pieces[0].sha256 in hub.objects and not hub.commits
    send()
    assert hub.received == arrived and len(hub.commits) == 1


@pytest.mark.parametrize(
    ("environment", "place", "kind", "words"),
    [
        ({"HF_TOKEN": "hf_nobodysnotoken"}, PLACE, "unauthorized", "refused HF_TOKEN"),
        ({"HF_TOKEN": "hf_onlyreads123"}, PLACE, "forbidden", "may not write to tester/lora"),
        ({}, HubPlace("somebody/lora"), "forbidden", "write access to somebody"),
    ],
)
def test_a_token_that_does_not_fit_is_named(
    environment: dict[str, str], place: HubPlace, kind: str, words: str, send: Callable[..., Sent]
) -> None:
    with pytest.raises(HubError, match=words) as refused:
        send(place=place, **environment)
    assert refused.value.kind == kind and not refused.value.retry
    assert "hf_" not in str(refused.value)


@pytest.mark.parametrize(
    ("token", "place", "words"),
    [
        ("hf_nobodysnotoken", PLACE, "refused HF_TOKEN"),
        ("hf_onlyreads123", PLACE, "may not write"),
        (TOKEN, HubPlace("somebody/lora"), "may not write to somebody/lora"),
        ("", PLACE, "needs a token"),
    ],
)
def test_a_token_that_will_not_do_is_found_before_the_training(
    token: str, place: HubPlace, words: str, hub: UploadHub, tmp_path: Path
) -> None:
    environ = {"HF_ENDPOINT": hub.url, "HF_TOKEN": token, "HOME": str(tmp_path), "HF_HOME": str(tmp_path)}
    with pytest.raises((RequestError, HubError), match=words):
        require_writer(Access(environ), place)
    require_writer(Access(environ | {"HF_TOKEN": TOKEN}), PLACE)


def test_a_hub_that_can_not_be_asked_is_no_reason_to_refuse(hub: UploadHub) -> None:
    hub.fail("404", path="/api/whoami-v2")
    require_writer(Access({"HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN}), PLACE)


def test_without_a_token_nothing_is_asked(hub: UploadHub, send: Callable[..., Sent]) -> None:
    with pytest.raises(RequestError, match="needs a token"):
        send(HF_TOKEN="")
    assert hub.seen == []


def test_a_token_in_a_file_does(hub: UploadHub, send: Callable[..., Sent], tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    assert send(HF_TOKEN="", HF_TOKEN_PATH=str(tmp_path / "token")).sent


@pytest.mark.parametrize(
    ("status", "path", "words"),
    [
        ("404", "/preupload/", "Check that tester is your account"),
        ("403", "/commit/", "may not write"),
        ("400", "/commit/", "did not take the files"),
        ("413", "/info/lfs/", "did not|no room|could not be published"),
    ],
)
def test_refusals_of_the_hub_are_said_plainly(
    status: str, path: str, words: str, hub: UploadHub, send: Callable[..., Sent]
) -> None:
    hub.fail(status, method="POST", path=path)
    with pytest.raises(HubError, match=words) as refused:
        send()
    assert TOKEN not in str(refused.value) and "Traceback" not in str(refused.value)


def test_a_commit_that_met_another_one_is_tried_again(hub: UploadHub, send: Callable[..., Sent]) -> None:
    hub.fail("409", method="POST", path="/commit/", times=1)
    assert send().sent == (BIG, CARD)
    assert len(hub.commits) == 1


@pytest.mark.slow
def test_an_upload_that_stands_still_is_ended_and_tried_again(
    hub: UploadHub, send: Callable[..., Sent], said: list[str]
) -> None:
    hub.fail("stall", method="PUT", path="/lfs/", times=1)
    began = time.monotonic()
    assert send(stall_s=4).sent == (BIG, CARD)
    assert time.monotonic() - began < 30
    assert any("no byte for 4 s" in text for text in said)


@pytest.mark.slow
def test_a_slow_line_is_not_taken_for_a_dead_one(
    hub: UploadHub, send: Callable[..., Sent], said: list[str]
) -> None:
    hub.bytes_per_second = 500_000
    assert send(stall_s=4).sent == (BIG, CARD)
    assert not [text for text in said if "again" in text]


def test_calling_it_off_ends_the_client(hub: UploadHub, pieces: list[Piece], tmp_path: Path) -> None:
    hub.bytes_per_second = 100_000
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN}
    cancel = threading.Event()
    threading.Timer(2.0, cancel.set).start()
    began = time.monotonic()
    with pytest.raises(Cancelled):
        send_to_hub(pieces, PLACE, Access(environ), "lora", cancel=cancel)
    assert time.monotonic() - began < 8 and not hub.commits
