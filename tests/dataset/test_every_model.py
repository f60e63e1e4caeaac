"""Each recipe's rules read the dataset that the recipe itself gives as an example."""

from pathlib import Path
from typing import Any

import pytest

from musabi.dataset.config import read_config
from musabi.recipes import load, names


def value(given: Any) -> str:
    if isinstance(given, bool):
        return str(given).lower()
    return f'"{given}"' if isinstance(given, str) else str(given)


@pytest.mark.parametrize("name", names())
def test_the_example_of_a_recipe_is_a_dataset_that_its_model_takes(name: str, tmp_path: Path) -> None:
    recipe = load(name)
    rules, medium = recipe.dataset, recipe.dataset.takes[0]
    (tmp_path / "items").mkdir()
    lines = {f"{medium}_directory": tmp_path / "items", "cache_directory": tmp_path / "cache"}
    if rules.control != "none":
        lines["control_directory"] = tmp_path / "control"
        (tmp_path / "control").mkdir()
    options: dict[str, Any] = {"caption_extension": ".txt", "enable_bucket": True, **rules.example}
    if rules.multiple_target:
        options["multiple_target"] = True
    path = tmp_path / "dataset.toml"
    text = [f'{key} = "{folder}"' for key, folder in lines.items()]
    text += [f"{key} = {value(given)}" for key, given in options.items()]
    path.write_text("\n".join(["[[datasets]]", *text, ""]))
    (dataset,) = read_config(path, rules, recipe.architecture, recipe.title).datasets
    assert (dataset.medium, dataset.architecture) == (medium, recipe.architecture)
    if dataset.video is not None:
        assert (dataset.video.target_fps, dataset.video.latent_frames) == (rules.fps, 4)
        assert rules.fps
