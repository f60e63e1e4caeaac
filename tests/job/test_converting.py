"""Checkpoints are converted one after another, beside what goes on."""

import os
import time
from pathlib import Path

import pytest

from musabi.job.converting import NO_TIME, Conversions, clear_parts
from musabi.job.plan import Step


def copying(lora: Path) -> Step:
    part, final = lora.with_suffix(".part"), lora.parent / "comfyui" / lora.name
    return Step("convert", "Convert", ("cp", str(lora), str(part)), output=(part, final))


def failing(lora: Path) -> Step:
    part = lora.with_suffix(".part")
    script = f"echo half > {part}; echo 'Error: no such layer'; exit 2"
    return Step(
        "convert", "Convert", ("sh", "-c", script), output=(part, lora.parent / "comfyui" / lora.name)
    )


def sleeping(lora: Path) -> Step:
    part = lora.with_suffix(".part")
    return Step("convert", "Convert", ("sh", "-c", f"echo half > {part}; sleep 60"), output=(part, lora))


def test_every_file_is_converted_in_its_turn(tmp_path: Path) -> None:
    conversions = Conversions(copying)
    for number in range(3):
        (tmp_path / f"{number}.safetensors").write_text(str(number))
        conversions.add(tmp_path / f"{number}.safetensors")
    finished = conversions.finish(30)
    assert [path.read_text() for path in finished] == ["0", "1", "2"]
    assert conversions.done == set(finished) and not list(tmp_path.glob("*.part"))


def test_looking_after_them_never_waits(tmp_path: Path) -> None:
    conversions = Conversions(sleeping)
    conversions.add(tmp_path / "a.safetensors")
    began = time.monotonic()
    for _ in range(20):
        assert conversions.advance() == []
    assert time.monotonic() - began < 2
    conversions.close()
    assert list(tmp_path.iterdir()) == []


def test_what_failed_is_said_and_the_next_one_goes_on(tmp_path: Path) -> None:
    lora = tmp_path / "a.safetensors"
    conversions = Conversions(failing)
    conversions.add(lora)
    assert conversions.finish(30) == []
    assert conversions.failed == {lora: "Error: no such layer"}
    assert list(tmp_path.rglob("a.*")) == []


def test_a_conversion_that_hangs_does_not_keep_the_run(tmp_path: Path) -> None:
    conversions = Conversions(sleeping)
    conversions.add(tmp_path / "a.safetensors")
    assert conversions.finish(0.5) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_where_the_run_is_to_end_the_wait_is_short_and_what_was_left_is_noted(tmp_path: Path) -> None:
    conversions = Conversions(sleeping)
    for name in ("a", "b"):
        conversions.add(tmp_path / f"{name}.safetensors")
    began, asked = time.monotonic(), 0

    def in_a_hurry() -> bool:
        nonlocal asked
        asked += 1
        return asked > 3

    assert conversions.finish(50, in_a_hurry) == []
    assert time.monotonic() - began < 20 and asked > 3
    assert conversions.failed == {tmp_path / f"{name}.safetensors": NO_TIME for name in ("a", "b")}


def test_a_part_that_is_the_same_file_as_the_final_one_goes_too(tmp_path: Path) -> None:
    """A rename from one name of a file to another of its names does nothing."""

    def linking(lora: Path) -> Step:
        part, final = lora.with_suffix(".part"), lora.with_suffix(".final")
        os.link(lora, final)
        return Step("convert", "Convert", ("ln", str(lora), str(part)), output=(part, final))

    (tmp_path / "a.safetensors").write_text("a")
    conversions = Conversions(linking)
    conversions.add(tmp_path / "a.safetensors")
    assert conversions.finish(30) == [tmp_path / "a.final"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.final", "a.safetensors"]


def test_only_this_runs_half_written_files_are_removed(tmp_path: Path) -> None:
    mine = (".demo.part.safetensors", ".demo-000004.part.safetensors", "..demo.part.safetensors.ab1_.part")
    others = (".demo2.part.safetensors", ".demo.v2.part.safetensors", "demo.safetensors", ".other.part")
    for name in (*mine, *others):
        (tmp_path / name).touch()
    clear_parts(tmp_path, "demo")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(others)
    clear_parts(tmp_path / "nowhere", "demo")
