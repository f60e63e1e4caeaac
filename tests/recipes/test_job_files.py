"""The prompts that init writes."""

from pathlib import Path

import pytest

from musabi.dataset.prompts import prompt_rules, read_prompts
from musabi.job.prompt import Prompt
from musabi.recipes import load, names
from musabi.recipes.job_files import prompts_file


def written(name: str, folder: Path) -> Prompt:
    """Return the prompt that init writes, read by the model's own rules once its files are there."""
    recipe = load(name)
    path = folder / "sample_prompts.txt"
    path.write_text(prompts_file(recipe, folder), encoding="utf-8")
    for word in path.read_text(encoding="utf-8").split():
        if word.startswith(str(folder)):
            Path(word).touch()
    (prompt,) = read_prompts(path, prompt_rules(recipe))
    return prompt


@pytest.mark.parametrize("name", names())
def test_the_prompt_that_init_writes_can_be_read(name: str, tmp_path: Path) -> None:
    assert written(name, tmp_path).text == "a photo of myword"


def test_single_frames_have_their_indices_and_a_picture_for_each(tmp_path: Path) -> None:
    first, last = str(tmp_path / "first.png"), str(tmp_path / "last.png")
    between = written("wan2.1-flf2v-14b", tmp_path)
    assert (between.image, between.end_image, between.controls) == (first, last, (first, last))
    assert between.one_frame == "target_index=1,control_index=0;2"
    after = written("framepack-one-frame", tmp_path)
    assert (after.image, after.controls) == (first, (first,))
    assert after.one_frame == "no_2x,no_4x,target_index=9,control_index=0"


@pytest.mark.parametrize(
    ("name", "embedded", "scale"),
    [
        ("kandinsky-5-pro-t2v", 5.0, None),
        ("flux2-klein-base-4b", 4.0, None),
        ("hidream-o1", None, 5.0),
        ("framepack", 10.0, 1.0),
        ("z-image", None, 4.0),
    ],
)
def test_guidance_is_written_with_the_flag_that_the_model_knows(
    name: str, embedded: float | None, scale: float | None, tmp_path: Path
) -> None:
    prompt = written(name, tmp_path)
    assert prompt.embedded_guidance == embedded
    assert (prompt.guidance_scale if "guidance_scale" in prompt.given else None) == scale
