"""`models download`: the client's own options, its refusals, and what is worked out beforehand."""

from pathlib import Path
from typing import Any

import pytest

from musabi.errors import MachineError, RequestError
from musabi.hub.download import DownloadRequest, arguments, check, download
from musabi.hub.faults import HubError
from peers.loopback_hub import LoopbackHub

REPO = "Tongyi-MAI/Z-Image"


def test_options_reach_the_client_as_it_names_them() -> None:
    request = DownloadRequest(
        "a/b", include=("*.json", "x/*"), exclude=("y",), revision="v1", local_dir=Path("/d"), max_workers=3
    )
    assert arguments(request) == [
        *("download", "a/b", "--include", "*.json", "--include", "x/*", "--exclude", "y", "--revision", "v1"),
        *("--repo-type", "model", "--local-dir", "/d", "--max-workers", "3"),
    ]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"local_dir": Path("/a"), "cache_dir": Path("/b")}, "can't be used together"),
        ({"repo_type": "bucket"}, "--repo-type"),
        ({"max_workers": 0}, "--max-workers"),
        ({"repo": "justaname"}, "OWNER/NAME"),
        ({"files": ("a",), "include": ("*",)}, "don't go with named files"),
    ],
)
def test_a_request_that_cannot_be_right_is_refused(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(RequestError, match=words):
        check(DownloadRequest(**({"repo": "a/b"} | wrong)))


def test_included_files_land_in_the_folder(bench: Any, tmp_path: Path) -> None:
    request = DownloadRequest(
        REPO, include=("tokenizer/*",), exclude=("*merges*",), local_dir=tmp_path / "out"
    )
    assert download(request, bench.access) == tmp_path / "out"
    assert sorted(p.name for p in (tmp_path / "out" / "tokenizer").iterdir()) == [
        "tokenizer_config.json",
        "vocab.json",
    ]


def test_one_file_comes_through_the_cache(bench: Any, tmp_path: Path, hub: LoopbackHub) -> None:
    request = DownloadRequest(REPO, files=("tokenizer/vocab.json",), cache_dir=tmp_path / "cache")
    path = download(request, bench.access)
    assert path.read_bytes() == hub.repos[REPO].files["tokenizer/vocab.json"]
    assert path.is_relative_to(tmp_path / "cache")


def test_a_fault_that_passes_is_waited_for(bench: Any, tmp_path: Path, hub: LoopbackHub) -> None:
    hub.fail("500", path="/resolve/", times=1)
    download(DownloadRequest(REPO, files=("tokenizer/vocab.json",), local_dir=tmp_path / "o"), bench.access)
    assert (tmp_path / "o" / "tokenizer" / "vocab.json").is_file()


def test_an_unknown_repo_and_a_gated_one_are_named(bench: Any, tmp_path: Path, hub: LoopbackHub) -> None:
    with pytest.raises(HubError, match="There is no no/such"):
        download(DownloadRequest("no/such", local_dir=tmp_path / "o"), bench.access)
    hub.fail("gated", method="HEAD", path="/resolve/")
    with pytest.raises(HubError, match=f"Ask for it at {hub.url}/{REPO}"):
        download(DownloadRequest(REPO, local_dir=tmp_path / "o"), bench.access)


def test_a_disk_that_is_too_small_is_foreseen(
    bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hub: LoopbackHub
) -> None:
    from musabi.hub import listing

    monkeypatch.setattr(listing, "free_bytes", lambda _folder: 1000)
    with pytest.raises(MachineError, match=r"bytes \(.* are missing"):
        download(DownloadRequest(REPO, include=("*.safetensors",), local_dir=tmp_path / "o"), bench.access)
    assert not hub.bodies("safetensors")
