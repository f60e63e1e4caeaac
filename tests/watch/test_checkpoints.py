from pathlib import Path

from musabi.job.record import ProducedFile
from musabi.watch.checkpoints import checkpoints, to_take


def made(path: Path, at: float, kind: str = "checkpoint", size: int = 10) -> ProducedFile:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\0" * size)
    return ProducedFile(kind=kind, path=path, size=size, made=at)


def test_checkpoints_stand_in_the_order_of_training_with_the_final_one_last(tmp_path: Path) -> None:
    names = ("a.safetensors", "a-000002.safetensors", "a-step00000030.safetensors", "a-000001.safetensors")
    files = [made(tmp_path / name, at) for at, name in zip((1, 3, 4, 2), names, strict=True)]
    assert [row.label for row in checkpoints(files, "a")] == ["Epoch 1", "Epoch 2", "Step 30", "Final"]


def test_a_converted_file_stands_beside_its_source_even_when_only_on_disk(tmp_path: Path) -> None:
    files = [made(tmp_path / "a.safetensors", 1), made(tmp_path / "a-000001.safetensors", 0)]
    made(tmp_path / "comfyui" / "a.safetensors", 2, size=7)
    first, last = checkpoints(files, "a")
    assert first.converted is None
    assert last.converted is not None
    assert (last.converted.path, last.converted.size) == (tmp_path / "comfyui" / "a.safetensors", 7)


def test_the_file_to_take_is_the_newest_that_is_there_converted_first(tmp_path: Path) -> None:
    files = [made(tmp_path / "a-000001.safetensors", 1), made(tmp_path / "a.safetensors", 2)]
    files.append(made(tmp_path / "comfyui" / "a.safetensors", 3, "converted"))
    found = to_take(checkpoints(files, "a"))
    assert found is not None
    assert found[1].path == tmp_path / "comfyui" / "a.safetensors"
    (tmp_path / "comfyui" / "a.safetensors").unlink()
    (tmp_path / "a.safetensors").unlink()
    found = to_take(checkpoints(files, "a"))
    assert found is not None
    assert found[1].path == tmp_path / "a-000001.safetensors"


def test_files_that_are_gone_are_known_as_gone(tmp_path: Path) -> None:
    gone = ProducedFile(kind="checkpoint", path=tmp_path / "a.safetensors", size=10, made=1)
    (row,) = checkpoints([gone], "a")
    assert row.native is not None
    assert row.native.size is None
    assert to_take([row]) is None
