"""Who trains a request, and what is refused by name."""

from typing import Any

import pytest

from musabi.recipes import load, names
from musabi.serverless.request.mistakes import Refused
from musabi.serverless.request.model import read_request
from musabi.serverless.request.model_types import ORIGINAL, find, of_model
from serverless.request.examples import ALL_NAMES, a_request, an_input

AUTOMATIC = (
    ("flux", "diffusion_pipe", "flux", "Flux"),
    ("sdxl", "diffusion_pipe", "sdxl", "SDXL"),
    ("wan13", "musubi", "wan2.1-t2v-1.3b", "Wan 1.3B"),
    ("wan14b_t2v", "musubi", "wan2.1-t2v-14b", "Wan 14B T2V"),
    ("wan14b_i2v", "musubi", "wan2.1-i2v-14b-480p", "Wan 14B I2V"),
    ("qwen", "musubi", "qwen-image", "Qwen Image"),
    ("z_image_turbo", "musubi", "z-image-turbo", "Z Image Turbo"),
    ("z_image", "musubi", "z-image", "Z-Image"),
    ("krea-2", "musubi", "krea-2", "Krea 2"),
    ("zimage", "musubi", "z-image", "Z-Image"),
)


@pytest.mark.parametrize(("model", "engine", "trained", "title"), AUTOMATIC)
def test_musubi_tuner_trains_what_it_has_and_diffusion_pipe_the_rest(
    model: str, engine: str, trained: str, title: str
) -> None:
    _, choice = a_request(model)
    assert (choice.engine, choice.model) == (engine, trained)
    assert choice.title == title or model == "krea-2"


@pytest.mark.parametrize(
    "training", [{"optimizer_type": "automagic"}, {"min_ar": 0.7}, {"shuffle_tags": True}, {"shift": 3.0}]
)
def test_a_wish_that_only_diffusion_pipe_knows_chooses_it_and_is_named(training: dict[str, Any]) -> None:
    _, choice = a_request("qwen", training)
    assert choice.engine == "diffusion_pipe"
    assert choice.model == "qwen-image"
    assert next(iter(training)) in choice.why


@pytest.mark.parametrize(
    "training",
    [
        {"discrete_flow_shift": 3.0},
        {"blocks_to_swap": 8},
        {"optimizer_type": "Prodigy"},
        {"lr_scheduler": "cosine"},
    ],
)
def test_a_wish_that_musubi_tuner_knows_does_not(training: dict[str, Any]) -> None:
    assert a_request("qwen", training)[1].engine == "musubi"


ENGINES = (
    ("flux", "musubi", "musubi-tuner can't train Flux"),
    ("sdxl", "diffusers", "trains z_image only, not SDXL"),
    ("qwen", "diffusers", "trains z_image only, not Qwen Image"),
    ("z_image_turbo", "diffusers", "set it to musubi"),
    ("krea-2", "diffusion_pipe", "diffusion-pipe does not train"),
)


@pytest.mark.parametrize(("model", "engine", "message"), ENGINES)
def test_an_engine_that_does_not_have_the_model_is_refused_with_the_one_that_has(
    model: str, engine: str, message: str
) -> None:
    with pytest.raises(Refused, match=message) as refused:
        a_request(model, engine=engine)
    assert refused.value.mistakes[0].path == "engine"


@pytest.mark.parametrize(
    ("model", "engine"),
    [("z_image", "diffusers"), ("z-image", "diffusers"), ("qwen", "diffusion_pipe"), ("wan13", "musubi")],
)
def test_an_engine_that_has_the_model_is_taken_at_its_word(model: str, engine: str) -> None:
    assert a_request(model, engine=engine)[1].engine == engine


@pytest.mark.parametrize("name", ALL_NAMES)
def test_every_model_is_found_by_the_name_that_its_choice_carries(name: str) -> None:
    found = find(name)
    assert found is not None
    assert of_model(found.model).pipe == found.pipe
    assert found.recipe is None or load(found.recipe).name == found.recipe


def test_the_original_s_seven_types_and_every_recipe_can_be_named() -> None:
    assert [one.name for one in ORIGINAL][:3] == ["flux", "sdxl", "wan13"]
    assert set(names()) <= set(ALL_NAMES)
    assert find("flux3") is None and find("../z-image") is None and find("") is None


MEDIA = (
    ("qwen", "videos", "is trained on images only"),
    ("flux", "videos", "is trained on images only"),
    ("wan14b_i2v", "images", "Wan 14B I2V is trained on videos only"),
    ("wan2.2-i2v-a14b", "images", "is trained on videos only"),
    ("framepack", "images", "is trained on videos only"),
    ("flux1-kontext", "images", "needs control images"),
    ("qwen-image-layered", "images", "needs control images or layers"),
)


@pytest.mark.parametrize(("model", "media", "message"), MEDIA)
def test_a_dataset_that_the_model_can_t_be_trained_on_is_refused_in_words(
    model: str, media: str, message: str
) -> None:
    dataset = {"type": "precaptioned", f"{media}_url": "https://example.com/set.zip"}
    with pytest.raises(Refused, match=message):
        read_request(an_input(model, dataset=dataset))


OPTIMIZERS = (
    ("krea-2", {"optimizer_type": "automagic"}, "auto", "musubi-tuner has no optimizer automagic"),
    ("flux", {"optimizer_type": "nadam"}, "auto", "diffusion-pipe has no optimizer nadam; musubi has it"),
    ("z_image", {"optimizer_type": "sgd"}, "diffusers", "has no optimizer sgd"),
    ("qwen", {"optimizer_type": "lion"}, "musubi", "diffusion_pipe has it"),
    ("qwen", {"optimizer_type": "os.system"}, "auto", "must be one of adamw_optimi"),
    ("flux", {"lr_scheduler": "polynomial"}, "auto", "no lr_scheduler polynomial"),
)


@pytest.mark.parametrize(("model", "training", "engine", "message"), OPTIMIZERS)
def test_what_the_engine_does_not_have_is_refused_with_the_one_that_has(
    model: str, training: dict[str, Any], engine: str, message: str
) -> None:
    with pytest.raises(Refused, match=message):
        a_request(model, training, engine=engine)
