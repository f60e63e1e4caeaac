"""`musabi lora` as it is typed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from musabi.recipes.load import load
from small import loras

MODULES = loras.names(load("z-image").network.modules)


def musabi(*argv: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "musabi", "lora", *map(str, argv)], capture_output=True, text=True, timeout=60
    )


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("loras")
    return [loras.write(folder / f"run-{n:06d}.safetensors", MODULES, seed=n) for n in (1, 2)]


def test_inspect_says_what_a_file_is_to_people_and_programs(files: list[Path]) -> None:
    said = musabi("inspect", files[0])
    assert (said.returncode, said.stderr) == (0, "")
    assert "Z-Image" in said.stdout and "rank 4" in said.stdout
    values = json.loads(musabi("inspect", files[0], "--json").stdout)
    assert "z-image" in values["models"] and values["layers"] == 14


def test_merge_and_ema_write_a_file_and_say_what_is_in_it(files: list[Path], tmp_path: Path) -> None:
    merged = musabi(
        "merge", *files, "--weights", "0.7,0.5", "--rank", 6, "--output", tmp_path / "m.safetensors"
    )
    assert merged.returncode == 0, merged.stderr
    assert "rank 6" in merged.stdout and "energy" in merged.stdout
    assert "musabi convert" in merged.stdout
    averaged = musabi("ema", *files, "--beta", 0.75, "--output", tmp_path / "e.safetensors", "--json")
    shares = json.loads(averaged.stdout)["files"]
    assert [share["share"] for share in shares] == [0.75, 0.25]
    assert (tmp_path / "m.safetensors").is_file() and (tmp_path / "e.safetensors").is_file()


def test_wrong_requests_end_with_2_and_a_sentence(files: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "o.safetensors"
    cases = {
        ("inspect", tmp_path / "gone.safetensors"): "is not there",
        ("inspect", tmp_path): "is a folder",
        ("merge", *files, "--weights", "0.5", "0.25", "--output", out): "no spaces: --weights 0.5,0.25",
        ("merge", *files, "--weights", "0.7;0.5", "--output", out): "is not numbers with commas",
        ("merge", *files, "--weights", "0.7", "--output", out): "2 files and 1 weights",
        ("merge", *files, "--output", tmp_path / "o.txt"): "must end in .safetensors",
        ("ema", *files, "--output", files[0]): "is one of the files that are read",
    }
    for argv, message in cases.items():
        done = musabi(*argv)
        assert done.returncode == 2 and message in done.stderr, (argv, done.stderr)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("verb", ["merge", "ema"])
def test_a_file_that_is_there_is_kept_unless_asked_otherwise(
    verb: str, files: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / "o.safetensors"
    out.write_bytes(b"kept")
    refused = musabi(verb, *files, "--output", out)
    assert refused.returncode == 2 and "is there already" in refused.stderr
    assert out.read_bytes() == b"kept"
    assert musabi(verb, *files, "--output", out, "--overwrite").returncode == 0
    assert out.stat().st_size > 4


def test_the_verbs_cost_a_start_no_numpy() -> None:
    program = "import sys, musabi.commands.lora; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], timeout=60).returncode == 0
