"""What a grid's pictures are kept under, and what its columns are."""

from dataclasses import replace
from pathlib import Path

import pytest

from musabi.errors import RequestError
from musabi.grid.cells import Column, columns, content_of, picture_name, read_strengths, require_few, rows
from musabi.grid.labels import labels
from musabi.grid.rendering import progress_line
from musabi.grid.sheet import grouped
from musabi.job.prompt import Prompt

LORA = Column("Epoch 2", Path("/out/demo-000002.safetensors"), 0.8, "0123456789ab")
CAT = Prompt("a Café cat, 35 mm", seed=42, given=frozenset({"seed"}))


def test_a_name_tells_content_strength_prompt_and_seed() -> None:
    name = picture_name(LORA, CAT, "setup")
    content, strength, words, seed = name.split("_")
    assert (content, strength, seed) == ("0123456789ab", "0.8", "42")
    assert words.startswith("a-cafe-cat-35-mm-") and words == words.lower()
    assert picture_name(Column("Without LoRA"), CAT, "setup").startswith("base_0_")


@pytest.mark.parametrize(
    "other",
    [
        (replace(LORA, content="ffffffffffff"), CAT, "setup"),
        (replace(LORA, strength=0.85), CAT, "setup"),
        (LORA, replace(CAT, seed=43), "setup"),
        (LORA, replace(CAT, text="a Café cat, 35 mm."), "setup"),
        (LORA, replace(CAT, steps=9, given=CAT.given | {"steps"}), "setup"),
        (LORA, replace(CAT, given=CAT.given | {"steps"}), "setup"),
        (LORA, CAT, "another model"),
    ],
)
def test_what_changes_a_picture_changes_its_name(other: tuple[Column, Prompt, str]) -> None:
    assert picture_name(*other) != picture_name(LORA, CAT, "setup")


def test_a_renamed_lora_keeps_its_pictures() -> None:
    moved = replace(LORA, label="mine", lora=Path("/elsewhere/mine.safetensors"))
    assert picture_name(moved, CAT, "setup") == picture_name(LORA, CAT, "setup")


@pytest.mark.parametrize("text", ["", "穿红色连衣裙的女孩", "../../etc/passwd \0 \n", "x" * 5000])
def test_any_prompt_makes_a_plain_file_name(text: str) -> None:
    name = picture_name(LORA, replace(CAT, text=text), "setup")
    assert name.isascii() and name.isprintable() and "/" not in name and len(name) < 100


def test_prompts_without_a_seed_get_the_jobs() -> None:
    made = rows((Prompt("a"), Prompt("b", seed=7, given=frozenset({"seed"}))), 42)
    assert [(prompt.seed, "seed" in prompt.given) for prompt in made] == [(42, True), (7, True)]


def test_columns_stand_lora_by_lora_behind_the_model_alone() -> None:
    made = columns([("Epoch 1", Path("a"), "aa"), ("Final", Path("b"), "bb")], (0.6, 1.0), with_base=True)
    assert [column.words for column in made] == [
        "Without LoRA",
        "Epoch 1, strength 0.6",
        "Epoch 1, strength 1",
        "Final, strength 0.6",
        "Final, strength 1",
    ]
    assert [group.strengths for group in grouped(made)] == [("",), ("0.6", "1"), ("0.6", "1")]


def test_strengths_are_numbers_each_once() -> None:
    assert read_strengths("0.6, 0.8,1,1.0,-2") == (0.6, 0.8, 1.0, -2.0)


@pytest.mark.parametrize("text", ["", "a", "0.6;0.8", "nan", "inf", "11", "0.123", "1,,2"])
def test_what_is_no_strength_is_refused(text: str) -> None:
    with pytest.raises(RequestError, match="is no strength"):
        read_strengths(text)


def test_too_many_cells_are_refused_with_their_number() -> None:
    require_few(20, 20)
    with pytest.raises(RequestError, match=r"21 prompts x 20 columns are 420 cells"):
        require_few(21, 20)


def test_checkpoints_are_labelled_by_epoch_and_others_by_name() -> None:
    names = ("demo-000002", "demo-step00001500", "demo", "demo-v2", "other")
    files = [Path(f"/out/{name}.safetensors") for name in names]
    assert labels(files, "demo") == ["Epoch 2", "Step 1,500", "Final", "demo-v2", "other"]
    twins = [Path("/a/x.safetensors"), Path("/b/x.safetensors")]
    assert labels(twins, "demo") == ["a/x", "b/x"]


def test_content_is_a_hash_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"one")
    (tmp_path / "b").write_bytes(b"one")
    (tmp_path / "c").write_bytes(b"two")
    one, same, other = (content_of(tmp_path / name) for name in "abc")
    assert one == same != other and len(one) == 12


def test_progress_says_what_is_done_and_what_is_left() -> None:
    line = progress_line(3, 12, LORA, replace(CAT, text="a cat " * 20), 100.4)
    assert line == "[3/12] Epoch 2, strength 0.8: a cat a cat a cat a cat a cat a cat a... (about 1:40 left)"
    assert "left" not in progress_line(12, 12, LORA, CAT, 0)
