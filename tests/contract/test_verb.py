"""`musabi contract` as a person runs it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from musabi.contract import committed
from small.contract import write_package

SCRIPT = """
    import argparse
    if __name__ == "__main__":
        parser = argparse.ArgumentParser()
        parser.add_argument("--dim", type=int, default=4)
        parser.parse_args()
"""


def run(root: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "musabi", "contract", *map(str, arguments)],
        env=os.environ | {"WORKSPACE": str(root)},
        cwd=root,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture
def space(tmp_path: Path) -> Path:
    write_package(tmp_path / "musubi-tuner", {"a.py": SCRIPT})
    return tmp_path


def test_it_says_whether_this_is_what_musabi_was_made_for(space: Path) -> None:
    done = run(space)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "musubi-tuner: 1 scripts, 2 arguments, 0 dataset keys."
    assert "points from musubi-tuner 0.3.4 (30c658c)" in done.stdout
    assert (space / ".musabi" / "contract.json").is_file()
    listed = run(space, "--diff").stdout
    assert "script a.py: added" in listed
    assert "script zimage_train_network.py: removed" in listed
    values = json.loads(run(space, "--json").stdout)
    assert (values["same"], values["made_for"]) == (False, "musubi-tuner 0.3.4 (30c658c)")
    assert "script a.py: added" in values["differences"]


def test_a_quoted_line_is_split_and_an_empty_one_refused(space: Path) -> None:
    assert run(space, "--command", "a.py --dim 3").returncode == 0
    assert 'for --dim, not "ten"' in run(space, "--command", "a.py --dim ten").stdout
    for command, said in {"": "names no script", "a.py 'x": "not closed"}.items():
        done = run(space, "--command", command)
        assert done.returncode == 2 and said in done.stderr


def test_where_none_is_installed_the_version_that_is_checked_against_is_named(tmp_path: Path) -> None:
    said = run(tmp_path, "--command", "b.py").stdout
    assert "installed" not in said and "musubi-tuner 0.3.4 (30c658c) has no script b.py." in said


def test_it_checks_a_command_line(space: Path) -> None:
    assert run(space, "--command", "a.py", "--", "--dim", "3").returncode == 0
    done = run(space, "--command", "a.py", "--json", "--", "--dim", "x")
    assert done.returncode == 2
    (fault,) = json.loads(done.stdout)["faults"]
    assert (fault["flag"], fault["what"], fault["refused"]) == ("--dim", "type", True)


def test_it_checks_a_dataset_against_the_committed_version_where_none_is_installed(tmp_path: Path) -> None:
    toml = tmp_path / "dataset.toml"
    toml.write_text("[general]\nbatchsize = 1\n")
    done = run(tmp_path, "--dataset", toml)
    assert done.returncode == 2
    assert "Did you mean batch_size?" in done.stdout
    toml.write_text("[general]\nbatch_size = 1\n")
    done = run(tmp_path, "--dataset", toml)
    assert (done.returncode, done.stdout) == (0, f"{committed().name} takes it.\n")


@pytest.mark.parametrize("text", ["a = ", None])
def test_a_dataset_that_is_no_toml_is_named(text: str | None, tmp_path: Path) -> None:
    toml = tmp_path / "dataset.toml"
    if text is not None:
        toml.write_text(text)
    done = run(tmp_path, "--dataset", toml)
    assert done.returncode == 2
    assert str(toml) in done.stderr


def test_what_was_read_can_be_written_and_is_the_same_again(space: Path) -> None:
    target = space / "new.json"
    assert "1 scripts" in run(space, "--write", target).stdout
    values = json.loads(target.read_text())
    assert values["groups"]["a.py:main"] == {"--dim": {"type": "int", "default": 4}}


def test_no_checkout_is_an_error_with_its_mend(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert done.returncode == 3
    assert "Run musabi bootstrap" in done.stderr
