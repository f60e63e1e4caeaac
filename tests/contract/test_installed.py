"""The surface of a checkout, and when what is remembered of it is still right."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from musabi.contract import installed_surface, read_surface
from musabi.contract.sources import commit_of
from musabi.errors import MachineError
from small.contract import write_package

SCRIPT = """
    import argparse
    if __name__ == "__main__":
        parser = argparse.ArgumentParser()
        parser.add_argument("--one", type=int)
        parser.parse_args()
"""
FIRST, SECOND = "1" * 40, "2" * 40


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    write_package(tmp_path / "musubi-tuner", {"a.py": SCRIPT, "dataset/extra.py": "", "networks/x.py": ""})
    git = tmp_path / "musubi-tuner" / ".git"
    git.mkdir()
    (git / "HEAD").write_text(f"{FIRST}\n")
    return tmp_path / "musubi-tuner"


def flags(checkout: Path, cache: Path | None) -> set[str]:
    return set(installed_surface(checkout, cache).scripts["a.py"].options) - {"-h", "--help"}


def edit(checkout: Path, old: str, new: str, *, keep_time: bool = False) -> None:
    path = checkout / "src" / "musubi_tuner" / "a.py"
    told = path.stat()
    path.write_text(path.read_text().replace(old, new))
    when = told.st_mtime_ns if keep_time else told.st_mtime_ns + 1_000_000
    os.utime(path, ns=(told.st_atime_ns, when))


def test_an_unchanged_checkout_is_not_read_again(checkout: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache.json"
    assert flags(checkout, cache) == {"--one"}
    edit(checkout, "--one", "--two", keep_time=True)  # nothing tells that: only reading again would
    assert flags(checkout, cache) == {"--one"}
    assert flags(checkout, None) == {"--two"}


def test_an_edited_checkout_is_read_anew(checkout: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache.json"
    assert flags(checkout, cache) == {"--one"}
    edit(checkout, "--one", "--two")
    assert flags(checkout, cache) == {"--two"}


def test_another_commit_is_read_anew(checkout: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache.json"
    assert installed_surface(checkout, cache).commit == FIRST
    (checkout / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
    (checkout / ".git" / "packed-refs").write_text(f"# pack-refs\n{SECOND} refs/heads/main\n")
    assert installed_surface(checkout, cache).commit == SECOND
    (checkout / ".git" / "refs" / "heads").mkdir(parents=True)
    (checkout / ".git" / "refs" / "heads" / "main").write_text(FIRST)
    assert commit_of(checkout) == FIRST


def test_a_script_that_came_since_is_seen(checkout: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache.json"
    installed_surface(checkout, cache)
    write_package(checkout, {"b.py": SCRIPT})
    assert "b.py" in installed_surface(checkout, cache).scripts


@pytest.mark.parametrize(
    "broken", ["", "{", "[]", '{"stamp": 1}', '{"surface": {}, "stamp": "", "commit": ""}']
)
def test_a_broken_cache_is_done_without(broken: str, checkout: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache.json"
    cache.write_text(broken)
    assert flags(checkout, cache) == {"--one"}
    assert json.loads(cache.read_text())["commit"] == FIRST


def test_a_cache_that_cannot_be_written_is_done_without(checkout: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert flags(checkout, tmp_path / "file" / "cache.json") == {"--one"}


def test_the_committed_version_is_known_without_being_parsed(checkout: Path, tmp_path: Path) -> None:
    usual = read_surface(checkout / "src" / "musubi_tuner")
    cache = tmp_path / "cache.json"
    first = installed_surface(checkout, cache, usual)
    again = installed_surface(checkout, cache, usual)
    assert first.scripts is usual.scripts
    assert again.scripts is usual.scripts
    write_package(checkout, {"b.py": SCRIPT})
    assert "b.py" in installed_surface(checkout, cache, usual).scripts


def test_a_memory_made_for_another_version_is_not_believed(checkout: Path, tmp_path: Path) -> None:
    usual = read_surface(checkout / "src" / "musubi_tuner")
    cache = tmp_path / "cache.json"
    assert installed_surface(checkout, cache, usual).scripts is usual.scripts
    other = replace(usual, fingerprint="other", scripts={})
    assert installed_surface(checkout, cache, other).scripts == usual.scripts


def test_a_checkout_that_is_not_there_is_named_with_its_mend(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match=r"musubi-tuner is not in .* Run musabi bootstrap"):
        installed_surface(tmp_path / "nothing")


def test_a_plan_loads_nothing_that_reads_sources() -> None:
    code = """
import sys
from musabi.contract import committed, faults, installed_surface, require_accepted
assert faults(committed(), "zimage_train_network.py", ["--sdpa"]) == ()
print([name for name in sys.modules if name in ("musabi.contract.follow", "pydantic", "numpy")])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr
