"""Checkpoints are converted one after another, beside what goes on."""

import time
from pathlib import Path

from musabi.job.converting import Conversions
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
