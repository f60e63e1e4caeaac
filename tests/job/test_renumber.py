"""Names and counts of a resumed leg are those of an uninterrupted run."""

import json
from pathlib import Path, PurePath

import pytest

from musabi.job.renumber import Final, final_name, shift_metadata
from musabi.whole import is_whole_safetensors, safetensors_header

NAMES = {
    "n-000003.safetensors": Final(PurePath("n-000013.safetensors"), "checkpoint", epoch=13),
    "n-000003-state": Final(PurePath("n-000013-state"), "state", epoch=13),
    "n-step00000005.safetensors": Final(PurePath("n-step00000275.safetensors"), "checkpoint", step=275),
    "n-step00000005-state": Final(PurePath("n-step00000275-state"), "state", step=275),
    "n.safetensors": Final(PurePath("n.safetensors"), "checkpoint"),
    "n-state": Final(PurePath("n-state"), "state"),
    "sample/n_e000002_00_20260101000000_42_000.png": Final(
        PurePath("sample/n_e000012_00_20260101000000_42_000.png"), "sample", epoch=12
    ),
    "sample/n_e000002_01_20260101000000_42.mp4": Final(
        PurePath("sample/n_e000012_01_20260101000000_42.mp4"), "sample", epoch=12
    ),
    "sample/n_000005_01_20260101000000.mp4": Final(
        PurePath("sample/n_000275_01_20260101000000.mp4"), "sample", step=275
    ),
    "sample/n_000005_01_20260101000000_000.png": Final(
        PurePath("sample/n_000275_01_20260101000000_000.png"), "sample", step=275
    ),
}


@pytest.mark.parametrize("name", NAMES)
def test_the_offsets_are_added_to_the_numbers(name: str) -> None:
    assert final_name(PurePath(name), "n", 10, 270) == NAMES[name]


@pytest.mark.parametrize(
    "name",
    [
        "m.safetensors",
        "n-1.safetensors",
        "n-000001.txt",
        "logs",
        "logs/n.safetensors",
        "sample/m_e000001_00_.png",
        "sample/n_e000001_00_20260101000000.webm",
        "sample/sample_00001_00.mp4",
        "sample_000001_00.mp4",
    ],
)
def test_what_is_not_of_the_run_has_no_final_name(name: str) -> None:
    assert final_name(PurePath(name), "n", 10, 270) is None


def test_a_name_with_signs_of_a_pattern_means_itself() -> None:
    assert final_name(PurePath("a.b+c.safetensors"), "a.b+c") is not None
    assert final_name(PurePath("aXb+c.safetensors"), "a.b+c") is None


def test_the_counts_in_the_metadata_are_shifted_and_the_tensors_stay(tmp_path: Path) -> None:
    source, path = tmp_path / "written.safetensors", tmp_path / "n.safetensors"
    metadata = {"ss_epoch": "2", "ss_num_epochs": "4", "ss_steps": "12", "ss_max_train_steps": "24"}
    header = {
        "__metadata__": {**metadata, "ss_seed": "42"},
        "w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
    }
    text = json.dumps(header).encode()
    source.write_bytes(len(text).to_bytes(8, "little") + text + b"12345678")
    for _ in range(2):  # killed before the source was removed, it is done again
        shift_metadata(source, path, 10, 60)
    assert is_whole_safetensors(path)
    found = safetensors_header(path)
    assert found is not None
    assert found[1]["__metadata__"] == {
        "ss_epoch": "12",
        "ss_num_epochs": "14",
        "ss_steps": "72",
        "ss_max_train_steps": "84",
        "ss_seed": "42",
    }
    assert path.read_bytes().endswith(b"12345678")
    assert (8 + found[0]) % 8 == 0
