"""Names, the hub, its token, its gated repos and its clock, asked of a loopback hub by the real client."""

import email.utils
import subprocess
import sys
import time

import pytest

from musabi.pod.doctor import names as lookups
from musabi.pod.doctor import network
from musabi.pod.doctor.names import Host, host_in, judge, lookup
from peers.loopback_hub import LoopbackHub
from small.machine import Machine, names

TOKEN = "hf_MARKEDdoctortoken12345"
RIGHT = {"network.names": "ok", "network.hub": "ok"}
NOWHERE = {
    "HF_ENDPOINT": "https://hub.invalid",
    "MUSUBI_REPO_URL": "https://git.invalid/a.git",
    "UV_DEFAULT_INDEX": "https://packages.invalid/simple",
    "MUSUBI_CUDA_EXTRA": "cpu",
}

# What the hub does, whether there is a token, and what the doctor says while the weights are still to come.
HUBS = [
    (None, True, RIGHT),
    (None, False, RIGHT),
    (("401", "GET", "/api/whoami"), True, {"network.names": "ok", "network.token_refused": "blocks"}),
    (("401", "GET", "/api/whoami"), False, RIGHT),
    (("gated", "HEAD", "/Tongyi-MAI/Z-Image/"), True, RIGHT | {"network.gated": "blocks"}),
    (("gated", "HEAD", "/Tongyi-MAI/Z-Image/"), False, RIGHT | {"network.gated_no_token": "blocks"}),
    (("403", "HEAD", "/Comfy-Org/"), True, RIGHT | {"network.forbidden": "blocks"}),
    (("404", "HEAD", "/Comfy-Org/"), True, RIGHT | {"network.no_repo": "blocks"}),
    (("401", "HEAD", "/Comfy-Org/"), False, RIGHT | {"network.no_repo": "blocks"}),
    (("429", "HEAD", "/Comfy-Org/"), True, RIGHT | {"network.rate": "note"}),
    (("500", "HEAD", "/Comfy-Org/"), True, RIGHT | {"network.repo_odd": "unknown"}),
    (("429", "GET", "/api/whoami"), True, {"network.names": "ok", "network.rate": "note"}),
    (("503", "GET", "/api/whoami"), True, {"network.names": "ok", "network.hub_down": "blocks"}),
]


@pytest.mark.parametrize(("fault", "with_token", "expected"), HUBS, ids=str)
def test_what_the_hub_answers_is_judged(
    online: Machine,
    hub: LoopbackHub,
    fault: tuple[str, str, str] | None,
    with_token: bool,
    expected: dict[str, str],
) -> None:
    if fault:
        hub.fail(fault[0], method=fault[1], path=fault[2])
    found = network.look(online.scene(**({"HF_TOKEN": TOKEN} if with_token else {})))
    assert names(found) == expected
    assert TOKEN not in str(found)


def test_the_token_is_asked_about_once_and_a_file_of_each_repo_by_its_head(
    online: Machine, hub: LoopbackHub
) -> None:
    network.look(online.scene(HF_TOKEN=TOKEN))
    assert [seen.method for seen in hub.seen] == ["GET", "HEAD", "HEAD", "HEAD"]
    assert {seen.authorization for seen in hub.seen} == {f"Bearer {TOKEN}"}
    assert len({seen.path.split("/resolve/")[0] for seen in hub.seen}) == 4


def test_a_token_in_its_file_counts_as_one(online: Machine, hub: LoopbackHub) -> None:
    online.write({"no-token": f"{TOKEN}\n"})
    network.look(online.scene())
    assert {seen.authorization for seen in hub.seen} == {f"Bearer {TOKEN}"}


def test_what_is_not_waited_for_is_only_a_note(online: Machine, hub: LoopbackHub) -> None:
    hub.fail("gated", method="HEAD", path="/Tongyi-MAI/Z-Image/")
    for environ in ({"SKIP_MODEL_DOWNLOAD": "1"}, {"ENGINE": "diffusers"}):
        assert names(network.look(online.scene(**environ)))["network.gated_no_token"] == "note"
    hub.fail("503", path="/api/whoami")
    assert names(network.look(online.scene(SKIP_MODEL_DOWNLOAD="1")))["network.hub_down"] == "note"


def test_a_hub_that_is_down_or_switched_off_blocks(online: Machine) -> None:
    assert (
        names(network.look(online.scene(HF_ENDPOINT="http://127.0.0.1:9")))["network.unreachable"] == "blocks"
    )
    assert names(network.look(online.scene(HF_HUB_OFFLINE="1")))["network.offline"] == "blocks"
    assert names(network.look(online.scene(HF_HUB_OFFLINE="0"))) == RIGHT


@pytest.mark.parametrize("token", ["hf_line\nend12345", "hf_umlaut\u00e412345"])
def test_a_token_that_can_not_be_sent_is_not_quoted(online: Machine, token: str) -> None:
    found = network.look(online.scene(HF_TOKEN=token))
    assert names(found)["network.token_odd"] == "blocks" and "12345" not in str(found)


def test_a_machine_without_dns_is_told_about_global_networking(machine: Machine) -> None:
    found = network.look(machine.scene(**NOWHERE))
    assert names(found) == {"network.no_dns": "blocks"}
    assert "Global Networking" in found[0].what and "hub.invalid" in found[0].what
    assert names(network.look(machine.scene(**NOWHERE, ENGINE="diffusers"))) == {"network.no_dns": "note"}


def test_one_name_that_can_not_be_looked_up_is_named_and_the_hub_still_asked(online: Machine) -> None:
    found = network.look(online.scene(MUSUBI_REPO_URL="https://git.invalid/a.git"))
    assert names(found) == {"network.no_name": "blocks", "network.hub": "ok"}
    assert found[0].sentence == "The bootstrap can't fetch musubi-tuner: git.invalid can't be looked up."


def test_a_hub_whose_name_is_lost_is_not_asked(online: Machine, hub: LoopbackHub) -> None:
    assert names(network.look(online.scene(HF_ENDPOINT="https://hub.invalid"))) == {
        "network.no_name": "blocks"
    }
    assert hub.seen == []


def test_behind_a_proxy_names_are_the_proxys_matter(machine: Machine) -> None:
    (found,) = lookups.look(machine.scene(**NOWHERE, HTTPS_PROXY="http://user:MARKEDpassword@127.0.0.1:3128"))
    assert found.state == "ok" and "HTTPS_PROXY" in found.what and "MARKED" not in str(found)


def test_hosts_that_are_still_needed_are_told_apart_from_those_that_are_not() -> None:
    hosts = [Host("a", "weights", True), Host("b", "torch", False), Host("c", "Python packages", True)]
    found = judge(hosts, {"a": False, "b": False, "c": True})
    assert [(each.state, each.what) for each in found] == [
        ("blocks", "a can't be looked up"),
        ("note", "b can't be looked up"),
    ]


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("https://github.com/kohya-ss/musubi-tuner.git", "github.com"),
        ("https://user:secret@git.example:8443/a.git", "git.example"),
        ("git@github.com:kohya-ss/musubi-tuner.git", "github.com"),
        ("ssh://git@host/a", "host"),
        ("/srv/git/musubi-tuner", None),
        ("file:///srv/git", None),
        ("", None),
    ],
)
def test_a_repository_names_its_host_in_any_form(address: str, host: str | None) -> None:
    assert host_in(address) == host


def test_a_resolver_that_does_not_answer_is_left_in_time() -> None:
    code = (
        "import socket, sys, time\n"
        "from musabi.pod.doctor.names import lookup\n"
        "socket.getaddrinfo = lambda *a, **k: time.sleep(60)\n"  # a resolver that hangs
        "began = time.monotonic(); print(lookup(['a', 'b'], 0.5)); print(time.monotonic() - began < 5)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout.splitlines() == ["{'a': False, 'b': False}", "True"]
    assert lookup(["127.0.0.1", "nowhere.invalid"]) == {"127.0.0.1": True, "nowhere.invalid": False}


@pytest.mark.parametrize(
    ("off", "said"), [(0, None), (100, None), (3600, "3600 s fast"), (-7200, "7200 s slow")]
)
def test_the_hubs_date_tells_whether_the_clock_is_right(off: int, said: str | None) -> None:
    now = float(int(time.time()))
    found = network.judge_clock(email.utils.formatdate(now - off, usegmt=True), now)
    assert [each.what for each in found] == ([f"this machine's clock is {said}"] if said else [])
    assert network.judge_clock(None, now) == network.judge_clock("yesterday", now) == []
