"""Deleting LoRAs: both forms go, into the bin or for good, and nothing else."""

from pathlib import Path

import pytest

from musabi.errors import RequestError
from musabi.lora.bin import each_once, put_away


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """A folder with a LoRA in both forms and another one."""
    (tmp_path / "comfyui").mkdir()
    for name in ("a.safetensors", "comfyui/a.safetensors", "b.safetensors"):
        (tmp_path / name).write_text(name)
    return tmp_path


def left(output: Path) -> list[str]:
    return sorted(str(path.relative_to(output)) for path in output.rglob("*.safetensors"))


@pytest.mark.parametrize("named", ["a.safetensors", "comfyui/a.safetensors"])
def test_both_forms_go_to_the_bin_together(output: Path, named: str) -> None:
    place = put_away(output / named, for_good=False)
    assert place is not None and place.parent == output / "bin"
    assert left(place) == ["a.safetensors", "comfyui/a.safetensors"]
    assert [name for name in left(output) if not name.startswith("bin/")] == ["b.safetensors"]


def test_two_of_one_moment_do_not_overwrite_each_other(output: Path) -> None:
    first = put_away(output / "a.safetensors", for_good=False)
    (output / "a.safetensors").write_text("again")
    second = put_away(output / "a.safetensors", for_good=False)
    assert first and second and first != second
    assert (first / "a.safetensors").read_text() == "a.safetensors"


def test_a_lora_that_is_named_by_both_forms_is_one(output: Path) -> None:
    names = ["a.safetensors", "comfyui/a.safetensors", "b.safetensors"]
    assert len(each_once(output / name for name in names)) == 2


def test_for_good_means_gone(output: Path) -> None:
    assert put_away(output / "a.safetensors", for_good=True) is None
    assert left(output) == ["b.safetensors"]


@pytest.mark.parametrize("named", ["none.safetensors", "comfyui", "note.txt"])
def test_what_is_no_lora_file_stays(output: Path, named: str) -> None:
    (output / "note.txt").write_text("mine")
    with pytest.raises(RequestError, match="no LoRA file that is there"):
        put_away(output / named, for_good=True)
    assert len(left(output)) == 3 and (output / "note.txt").exists()
