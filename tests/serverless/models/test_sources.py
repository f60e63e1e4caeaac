"""Which files a job's model is made of."""

from pathlib import Path
from typing import Any

import pytest

from musabi.engines.diffusion_pipe.job import PipeJob
from musabi.errors import RequestError
from musabi.recipes import load, names
from musabi.serverless.models.sources import KIN, PIPE_SETS, named_choice, rows_of, sets_of
from musabi.serverless.request.model_types import ORIGINAL, OURS, ModelType
from serverless.models.conftest import choice

MODELS = Path("/volume/musabi/models")


@pytest.mark.parametrize("model", names())
def test_every_recipe_has_a_set_for_each_of_its_weights(model: str) -> None:
    sets = sets_of(choice(model, "musubi"))
    recipe = load(model)
    assert {one.role for one in sets if not one.in_hub_cache} == set(recipe.weights)
    assert sum(one.in_hub_cache for one in sets) == len(recipe.tokenizers)
    assert len({one.role for one in sets}) == len(sets)


def test_two_sets_share_a_name_only_where_they_are_the_same_files() -> None:
    recipes = (one for model in names() for one in sets_of(choice(model, "musubi")))
    every = [*recipes, *(one for sets in PIPE_SETS.values() for one in sets)]
    known: dict[str, object] = {}
    for one in every:
        files = (one.wanted.repo, set(one.wanted.patterns), one.unit)
        assert known.setdefault(one.wanted.name, files) == files, one.wanted.name
        assert "/" not in one.wanted.name


def test_kin_is_known_for_repos_that_recipes_name() -> None:
    named = {(one.repo, role) for model in names() for role, one in load(model).weights.items()}
    assert KIN.keys() <= named


def test_kin_is_for_the_models_that_the_documents_speak_of() -> None:
    with_kin = {model: {one.role for one in sets_of(choice(model, "musubi")) if one.kin} for model in names()}
    assert with_kin["z-image-turbo"] == {"dit", "text_encoder"}
    assert with_kin["z-image"] == {"text_encoder"}
    assert with_kin["qwen-image"] == {"dit", "text_encoder", "vae"}
    assert with_kin["qwen-image-edit"] == {"text_encoder", "vae"}
    assert with_kin["wan2.1-i2v-14b-480p"] == {"clip", "text_encoder", "vae"}
    assert with_kin["krea-2"] == with_kin["flux2-klein-4b"] == set()


def test_a_recipe_needs_a_setting_only_for_what_lies_elsewhere() -> None:
    sets = sets_of(choice("z-image", "musubi"))
    where = {one.role: MODELS / one.unit / Path(one.must[0]).name for one in sets}
    assert rows_of(choice("z-image", "musubi"), sets, where, MODELS) == {}
    where["vae"] = Path("/volume/huggingface-cache/hub/ae.safetensors")
    rows = rows_of(choice("z-image", "musubi"), sets, where, MODELS)
    assert rows == {"vae_path": "/volume/huggingface-cache/hub/ae.safetensors"}


def told(model: str) -> dict[str, Any]:
    sets = PIPE_SETS[model]
    return rows_of(choice(model), sets, {one.role: Path("/m") / one.role for one in sets}, MODELS)


def test_diffusion_pipe_is_told_under_its_own_keys() -> None:
    assert told("sdxl") == {"checkpoint_path": "/m/checkpoint_path"}
    assert told("z-image-turbo") == {
        "diffusion_model": "/m/diffusion_model",
        "vae": "/m/vae",
        "text_encoders": [{"path": "/m/text_encoders", "type": "lumina2"}],
        "merge_adapters": ["/m/merge_adapters"],
    }


@pytest.mark.parametrize("model", [one for one in (*ORIGINAL, *OURS) if one.pipe], ids=lambda one: one.name)
def test_every_model_of_diffusion_pipe_gets_the_weights_that_it_cant_go_without(model: ModelType) -> None:
    job = PipeJob(
        model_type=model.name,
        type=str(model.pipe),
        model=told(model.model),
        adapter={"rank": 4},
        optimizer={},
        directories=((Path("/pictures"), 1),),
        output_name="lora",
        epochs=1,
        save_every_n_epochs=1,
    )
    assert job.suited("model") == told(model.model)


def test_fluxs_root_file_is_not_fetched_besides_its_folders() -> None:
    (flux,) = PIPE_SETS["flux"]
    assert flux.wanted.wants("transformer/diffusion_pytorch_model-00001-of-00003.safetensors")
    assert not flux.wanted.wants("flux1-dev.safetensors")


def test_a_model_whose_files_diffusion_pipe_needs_are_unknown_is_refused_by_name() -> None:
    with pytest.raises(RequestError, match="for krea-2"):
        sets_of(choice("krea-2"))


def test_a_name_on_the_command_line_stands_for_the_engine_that_has_it() -> None:
    assert named_choice("flux", None).engine == "diffusion_pipe"
    assert named_choice("wan13", None).model == "wan2.1-t2v-1.3b"
    assert named_choice("wan13", None).engine == "musubi"
    assert named_choice("qwen", "diffusion_pipe").model == "qwen-image"
    with pytest.raises(RequestError, match="musubi does not train SDXL"):
        named_choice("sdxl", "musubi")
    with pytest.raises(RequestError, match='no engine "comfy"'):
        named_choice("sdxl", "comfy")
    with pytest.raises(RequestError, match='no model "sd15"'):
        named_choice("sd15", None)
