"""Fetching weights through the real client, against a hub that fails on demand."""

import hashlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from musabi.children import Cancelled
from musabi.hub import client
from musabi.hub.faults import HubError
from musabi.hub.fetch import commit_of, fetch, missing, records_of, whole
from musabi.hub.weights import wanted_sets
from peers.loopback_hub import LoopbackHub

VAE = "split_files/vae/ae.safetensors"
SETS = {wanted.name: wanted for wanted in wanted_sets()}


def test_each_set_lands_under_its_names_and_nothing_else_comes(bench: Any, hub: LoopbackHub) -> None:
    for wanted in wanted_sets():
        bench.fetch(wanted.name)
    models = bench.places.models
    found = sorted(str(path.relative_to(models)) for path in models.rglob("*") if path.is_file())
    assert found == [
        "dit/diffusion_pytorch_model-00001-of-00002.safetensors",
        "dit/diffusion_pytorch_model-00002-of-00002.safetensors",
        "text_encoder/model-00001-of-00003.safetensors",
        "text_encoder/model-00002-of-00003.safetensors",
        "text_encoder/model-00003-of-00003.safetensors",
        "vae/ae.safetensors",
    ]
    vae = (models / "vae" / "ae.safetensors").read_bytes()
    assert vae == hub.repos["Comfy-Org/z_image_turbo"].files[VAE]
    assert not hub.bodies("README.md")
    assert all(whole(wanted, bench.places, bench.known) for wanted in wanted_sets())


def test_the_tokenizer_is_found_offline_by_the_hubs_own_code(bench: Any, hub: LoopbackHub) -> None:
    bench.fetch("tokenizer")
    script = (
        "from huggingface_hub import try_to_load_from_cache as load\n"
        "print(load('Tongyi-MAI/Z-Image', 'tokenizer/vocab.json'))"
    )
    environment = dict(bench.access.environment) | {"HF_HUB_OFFLINE": "1"}
    out = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    assert (
        Path(out.stdout.strip()).read_bytes() == hub.repos["Tongyi-MAI/Z-Image"].files["tokenizer/vocab.json"]
    )


def test_a_second_time_no_body_is_fetched(bench: Any, hub: LoopbackHub) -> None:
    bench.fetch("vae")
    bench.fetch("vae")
    assert len(hub.bodies("ae.safetensors")) == 1


def test_a_file_that_lies_there_already_is_checked_and_kept(bench: Any, hub: LoopbackHub) -> None:
    there = bench.places.models / "vae" / "ae.safetensors"
    there.parent.mkdir(parents=True)
    there.write_bytes(hub.repos["Comfy-Org/z_image_turbo"].files[VAE])
    assert missing(bench.transfer("vae")) == []
    assert str(there) in bench.known


def test_somebody_elses_file_is_moved_aside(bench: Any) -> None:
    there = bench.places.models / "vae" / "ae.safetensors"
    there.parent.mkdir(parents=True)
    there.write_bytes(b"my own vae")
    bench.fetch("vae")
    kept = [path for path in there.parent.iterdir() if ".replaced-" in path.name]
    assert [path.read_bytes() for path in kept] == [b"my own vae"]
    assert there.stat().st_size > 1000


def test_a_truncated_file_is_fetched_again_and_its_neighbours_are_not(bench: Any, hub: LoopbackHub) -> None:
    bench.fetch("dit")
    first = bench.places.models / "dit" / "diffusion_pytorch_model-00001-of-00002.safetensors"
    content = first.read_bytes()
    first.write_bytes(content[:1000])
    assert not whole(SETS["dit"], bench.places, bench.known)
    bench.fetch("dit")
    assert first.read_bytes() == content
    assert [len(hub.bodies(f"model-0000{n}")) for n in (1, 2)] == [2, 1]


@pytest.mark.parametrize(("kind", "times"), [("429", 2), ("500", 1), ("cut", 2)])
def test_a_fault_that_passes_is_waited_for(bench: Any, hub: LoopbackHub, kind: str, times: int) -> None:
    hub.fail(kind, path=VAE, times=times)
    bench.fetch("vae")
    assert (bench.places.models / "vae" / "ae.safetensors").is_file()


def test_a_listing_that_fails_twice_is_asked_for_again(bench: Any, hub: LoopbackHub) -> None:
    hub.fail("503", path="/api/models", times=2)
    bench.fetch("vae")
    assert any("again" in text for text in bench.said)


@pytest.mark.parametrize(
    ("kind", "method", "path", "row", "words"),
    [
        ("401", "GET", "/api/models", "unauthorized", "HF_TOKEN"),
        ("gated", "HEAD", VAE, "gated", "Ask for it at"),
        ("403", "HEAD", VAE, "forbidden", "read access"),
        ("404", "GET", "/api/models", "repo", "There is no Comfy-Org/z_image_turbo"),
    ],
)
def test_a_refusal_is_named_at_once_with_its_mend(
    bench: Any, hub: LoopbackHub, kind: str, method: str, path: str, row: str, words: str
) -> None:
    hub.fail(kind, method=method, path=path)
    with pytest.raises(HubError) as refused:
        bench.fetch("vae")
    assert refused.value.kind == row and not refused.value.retry
    assert words in str(refused.value) and "Comfy-Org/z_image_turbo" in str(refused.value)
    assert not hub.bodies(VAE)


def test_a_hub_that_stays_down_is_named_after_the_attempts(bench: Any, hub: LoopbackHub) -> None:
    hub.fail("500", path="/api/models")
    with pytest.raises(HubError, match=r"error \(500\) several times"):
        bench.fetch("vae")
    assert len(hub.seen) >= bench.access.attempts


def test_no_dns_is_named(make_bench: Callable[..., Any]) -> None:
    with pytest.raises(HubError, match="no DNS"):
        make_bench(HF_ENDPOINT="http://no-such-host.invalid").fetch("vae")


def test_a_file_that_the_repo_lacks_is_named(bench: Any, hub: LoopbackHub) -> None:
    del hub.repos["Comfy-Org/z_image_turbo"].files[VAE]
    with pytest.raises(HubError, match=f"no file {VAE}"):
        bench.fetch("vae")


@pytest.mark.slow
def test_a_stalled_transfer_is_ended_and_goes_on_without_xet(
    make_bench: Callable[..., Any], hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[tuple[list[str], dict[str, str]]] = []
    real = client.run

    def spying(argv: list[str], environment: dict[str, str], **more: Any) -> Any:
        started.append((argv, environment))
        return real(argv, environment, **more)

    monkeypatch.setattr(client, "run", spying)
    bench = make_bench(stall_s=2, HF_HUB_DOWNLOAD_TIMEOUT="30")
    hub.fail("stall", path=VAE, times=1)
    bench.fetch("vae")
    assert [environment.get("HF_HUB_DISABLE_XET") for _, environment in started] == [None, "1"]
    assert (bench.places.models / "vae" / "ae.safetensors").is_file()
    assert any("no byte for 2 s" in text for text in bench.said)


def test_wrong_bytes_are_fetched_again_once(bench: Any, hub: LoopbackHub) -> None:
    hub.fail("wrong", path=VAE, times=1)
    bench.fetch("vae")
    content = (bench.places.models / "vae" / "ae.safetensors").read_bytes()
    assert (
        hashlib.sha256(content).digest()
        == hashlib.sha256(hub.repos["Comfy-Org/z_image_turbo"].files[VAE]).digest()
    )
    assert len(hub.bodies(VAE)) == 2


def test_bytes_that_stay_wrong_are_named_and_never_kept(bench: Any, hub: LoopbackHub) -> None:
    hub.fail("wrong", path=VAE)
    with pytest.raises(HubError, match="wrong bytes twice") as wrong:
        bench.fetch("vae")
    assert wrong.value.kind == "corrupt"
    assert not list(bench.places.models.rglob("*.safetensors"))


def test_a_wrong_small_file_is_noticed_by_its_git_hash(bench: Any, hub: LoopbackHub) -> None:
    hub.fail("wrong", path="merges.txt", times=1)
    bench.fetch("tokenizer")
    assert len(hub.bodies("merges.txt")) == 2


def test_the_token_is_in_no_command_line_and_no_log(
    bench: Any, hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = bench.access.token
    started: list[list[str]] = []
    real = client.run
    monkeypatch.setattr(
        client, "run", lambda argv, env, **more: started.append(argv) or real(argv, env, **more)
    )
    hub.fail("500", path=VAE, times=1)
    bench.fetch("vae")
    told = json.dumps([started, bench.said, bench.logged, list(bench.known.values())], default=str)
    assert started and token not in told
    assert hub.bodies(VAE)[0].authorization == f"Bearer {token}"
    assert token not in repr(bench.access)


def test_progress_counts_the_bytes_that_are_here(bench: Any, hub: LoopbackHub) -> None:
    bench.fetch("dit")
    total = sum(bench.transfer("dit").listing.files[n].size for n in (0, 1))
    assert bench.moved == sorted(bench.moved) and 0 < bench.moved[-1] <= total


def test_calling_it_off_ends_the_client(bench: Any, hub: LoopbackHub) -> None:
    hub.bytes_per_second = 20_000
    transfer = bench.transfer("vae")
    threading.Timer(2.0, transfer.cancel.set).start()
    began = time.monotonic()
    with pytest.raises(Cancelled):
        fetch(transfer, missing(transfer))
    assert time.monotonic() - began < 8


def test_a_set_keeps_its_commit_in_what_is_remembered(bench: Any, hub: LoopbackHub) -> None:
    bench.fetch("dit")
    assert commit_of(records_of(SETS["dit"], bench.known)) == hub.repos["Tongyi-MAI/Z-Image"].commit
