import os
from pathlib import Path

import pytest

from musabi.job.record import ProducedFile
from musabi.watch.samples import AFTER, Moment, grid, read_prompts, read_sample, sample_files, spread


def sample(name: str, made: float = 0.0) -> ProducedFile:
    return ProducedFile(kind="sample", path=Path("/out/sample") / name, size=1, made=made)


@pytest.mark.parametrize(
    ("name", "moment", "prompt"),
    [
        ("ohwx_v1_e000010_02_20260131140500_42_000.png", Moment(270.0, "Epoch 10"), 2),
        ("ohwx_v1_e000010_02_20260131140500_42.png", Moment(270.0, "Epoch 10"), 2),
        ("ohwx_v1_e000010_02_20260131140500.png", Moment(270.0, "Epoch 10"), 2),
        ("ohwx_v1_e000000_00_20260131140500_000.png", Moment(0.0, "Before training"), 0),
        ("ohwx_v1_001500_11_20260131140500_42_000.png", Moment(1500.0, "Step 1,500"), 11),
        ("ohwx_v1_01_20260131140500_42_000.png", AFTER, 1),
        ("20260131-140500-123456_42_.png", AFTER, -1),
    ],
)
def test_a_name_says_when_and_for_which_prompt(name: str, moment: Moment, prompt: int) -> None:
    read = read_sample(sample(name), "ohwx_v1", steps_per_epoch=27)
    assert (read.moment, read.prompt) == (moment, prompt)


def read_all(*names: str) -> list:  # type: ignore[type-arg]
    return [read_sample(sample(name, made), "a", 10) for made, name in enumerate(names)]


def test_columns_follow_the_training_and_end_after_it() -> None:
    found = grid(
        read_all(
            "a_00_20260131140500.png",
            "a_000015_00_20260131140500.png",
            "a_e000002_00_20260131140500.png",
            "a_e000001_00_20260131140500.png",
        )
    )
    labels = [moment.label for moment in found.moments]
    assert labels == ["Epoch 1", "Step 15", "Epoch 2", "After training"]


def test_of_two_pictures_for_one_place_the_newer_is_shown() -> None:
    found = grid(read_all("a_e000001_00_20260131140500.png", "a_e000001_00_20260131150000.png"))
    assert [path.name for path in found.cells.values()] == ["a_e000001_00_20260131150000.png"]


def test_pictures_without_a_prompt_number_count_up_and_begin_anew_with_each_set() -> None:
    names = [f"20260131-14050{number}-123456_42_.png" for number in range(4)]
    found = grid(read_all(*names), prompts=2)
    assert found.prompts == (0, 1)
    assert [found.cells[prompt, AFTER].name for prompt in (0, 1)] == names[2:]


def test_many_moments_are_thinned_but_the_first_and_last_stay() -> None:
    found = grid(read_all(*(f"a_e{epoch:06d}_00_20260131140500.png" for epoch in range(1, 101))))
    assert len(found.moments) == 12
    assert (found.moments[0].label, found.moments[-1].label) == ("Epoch 1", "Epoch 100")
    assert found.left_out == 88
    assert spread(found.moments, 12) == list(found.moments)


def test_pictures_that_the_record_missed_are_found_but_not_those_of_other_runs(tmp_path: Path) -> None:
    ours = tmp_path / "a_e000001_00_20260131140500_42_000.png"
    for path in (
        ours,
        tmp_path / "a_v2_e000001_00_20260131140500_42_000.png",
        tmp_path / "a_e000001_00_20260131140500_42_000.mp4",
        tmp_path / "notes.txt",
    ):
        path.write_bytes(b"x")
    old = tmp_path / "a_e000002_00_20250101000000_42_000.png"
    old.write_bytes(b"x")
    os.utime(old, (1000, 1000))
    gone = sample("a_e000003_00_20260131140500.png")
    assert [file.path for file in sample_files([gone], tmp_path, "a", since=2000)] == [ours]


def test_prompts_are_read_as_the_trainer_counts_them(tmp_path: Path) -> None:
    path = tmp_path / "p.txt"
    path.write_text("# a comment\n\n  a cat --w 64 --d 1\na dog\n")
    assert read_prompts(path) == ["a cat", "a dog"]
    assert read_prompts(tmp_path / "none.txt") == []
    assert read_prompts(tmp_path / "p.toml") == []
