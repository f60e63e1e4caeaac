"""What must be in place before a run."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from musabi.errors import MachineError, RequestError
from musabi.job.model import Job
from musabi.job.preflight import existing_outputs, require_weights, require_writable
from musabi.whole import shards

MakeJob = Callable[..., Job]
EMPTY_SAFETENSORS = (2).to_bytes(8, "little") + b"{}"


def test_all_shards_of_a_split_file_are_needed(tmp_path: Path) -> None:
    assert [path.name for path in shards(tmp_path / "m-00001-of-00002.safetensors")] == [
        "m-00001-of-00002.safetensors",
        "m-00002-of-00002.safetensors",
    ]
    assert shards(tmp_path / "ae.safetensors") == (tmp_path / "ae.safetensors",)


def test_a_missing_shard_is_named_with_its_variable(make_job: MakeJob, tmp_path: Path) -> None:
    dit = tmp_path / "dit-00001-of-00002.safetensors"
    dit.write_bytes(EMPTY_SAFETENSORS)
    with pytest.raises(RequestError, match=r"dit-00002-of-00002\.safetensors is not there.*DIT_PATH"):
        require_weights(make_job(weights={"dit": dit}))


def test_a_weight_file_that_is_cut_off_is_named(make_job: MakeJob, tmp_path: Path) -> None:
    dit = tmp_path / "dit.safetensors"
    dit.write_bytes(EMPTY_SAFETENSORS[:-1])
    with pytest.raises(RequestError, match="cut off or is no safetensors file"):
        require_weights(make_job(weights={"dit": dit}))


def test_a_folder_that_cannot_be_made_is_said_with_its_variable(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(MachineError, match=r"Nothing can be written to .*file/output .*Set OUTPUT_DIR"):
        require_writable(tmp_path / "file" / "output", "OUTPUT_DIR")


@pytest.mark.skipif(not os.path.exists("/proc/sys/kernel"), reason="needs /proc")  # noqa: PTH110
def test_a_read_only_mount_is_said(tmp_path: Path) -> None:
    del tmp_path
    with pytest.raises(MachineError, match="Nothing can be written to"):
        require_writable(Path("/proc/musabi"), "OUTPUT_DIR")


def test_files_of_another_name_are_no_hindrance(make_job: MakeJob, tmp_path: Path) -> None:
    output = tmp_path / "output_dir"
    output.mkdir()
    for name in ("demo.safetensors", "demo-000002-state", "demo-2.safetensors", "demolition.safetensors"):
        (output / name).touch()
    assert [path.name for path in existing_outputs(make_job())] == ["demo-000002-state", "demo.safetensors"]
