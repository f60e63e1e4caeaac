"""Recipes: data that is checked when it is loaded."""

import tomllib

import pytest
from pydantic import ValidationError

from musabi.errors import RequestError
from musabi.recipes import load, names
from musabi.recipes.recipe import FOLDER, Recipe


@pytest.mark.parametrize("name", names())
def test_every_recipe_is_whole(name: str) -> None:
    recipe = load(name)
    assert recipe.name == name
    assert set(recipe.scripts) == {"cache-latents", "cache-text", "train", "convert", "sample"}
    assert {weights.kind for weights in recipe.weights} == {"dit", "vae", "text_encoder"}
    assert all(argument.why for script in recipe.scripts.values() for argument in script.always)


def test_z_image_is_trained_as_its_makers_of_the_trainer_say() -> None:
    always = {argument.flag: argument.value for argument in load("z-image").scripts["train"].always}
    assert always == {
        "--mixed_precision": "bf16",
        "--timestep_sampling": "shift",
        "--discrete_flow_shift": "2.0",
        "--weighting_scheme": "none",
        "--gradient_checkpointing": None,
    }


def test_a_trainer_is_given_the_first_shard() -> None:
    first = {weights.kind: weights.first for weights in load("z-image").weights}
    assert first == {
        "dit": "diffusion_pytorch_model-00001-of-00002.safetensors",
        "vae": "ae.safetensors",
        "text_encoder": "model-00001-of-00003.safetensors",
    }


def test_an_unknown_model_is_refused_with_the_known_ones() -> None:
    with pytest.raises(RequestError, match=r'"z-imag".*z-image'):
        load("z-imag")


def test_an_unknown_key_in_a_recipe_is_refused() -> None:
    values = tomllib.loads((FOLDER / "z-image.toml").read_text(encoding="utf-8"))
    with pytest.raises(ValidationError):
        Recipe.model_validate(values | {"blocks": 30})
