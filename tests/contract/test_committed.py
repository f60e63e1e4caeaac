"""The committed surface of musubi-tuner v0.3.4: what it says of arguments that recipes depend on."""

import re

import pytest

from musabi.contract import Option, committed
from musabi.contract.as_json import to_json
from musabi.contract.made_for import COMMITTED
from musabi.recipes import load, names
from musabi.recipes.recipe import Sampler, Script

FAMILIES = (
    *("zimage", "qwen_image", "flux_kontext", "flux_2", "wan", "hv_1_5", "fpack", "kandinsky5", "ideogram4"),
    "krea2",
)


def option(script: str, flag: str) -> Option:
    return committed().scripts[script].options[flag]


def test_every_family_has_its_four_scripts() -> None:
    for family in FAMILIES:
        ends = ("cache_latents.py", "cache_text_encoder_outputs.py", "train_network.py")
        assert {f"{family}_{end}" for end in ends} <= committed().scripts.keys()
        assert any(file.startswith(f"{family}_generate_") for file in committed().scripts)
    assert {"cache_latents.py", "hidream_o1_cache_pixel.py", "convert_lora.py"} <= committed().scripts.keys()


def recipe_flags(script: Script) -> set[str]:
    """Return every argument that a recipe says of one of its scripts."""
    said = {*script.weights, *script.while_sampling, *(argument.flag for argument in script.always)}
    said |= {script.fp8_text_encoder} if script.fp8_text_encoder else set()
    if isinstance(script, Sampler):
        said |= {*script.flags.values(), *script.fp8} - {""}
    return said


def test_every_recipe_names_scripts_and_arguments_that_are_there() -> None:
    for name in names():
        scripts = load(name).scripts
        for script in (scripts.cache_latents, scripts.cache_text, scripts.train, scripts.sample):
            assert script.file in committed().scripts, (name, script.file)
            assert recipe_flags(script) <= committed().scripts[script.file].options.keys(), name


@pytest.mark.parametrize(
    ("script", "flag", "field", "value"),
    [
        ("wan_train_network.py", "--timestep_boundary", "type", "int"),
        ("wan_generate_video.py", "--timestep_boundary", "type", "float"),
        ("wan_train_network.py", "--task", "default", "t2v-14B"),
        ("kandinsky5_train_network.py", "--task", "required", True),
        ("kandinsky5_train_network.py", "--task", "choices", None),
        ("flux_2_train_network.py", "--model_version", "default", "dev"),
        ("flux_2_train_network.py", "--blocks_to_swap", "type", "int"),
        ("zimage_train_network.py", "--mixed_precision", "default", None),
        ("zimage_train_network.py", "--mixed_precision", "choices", ("no", "fp16", "bf16")),
        ("zimage_train_network.py", "--optimizer_type", "default", ""),
        ("zimage_train_network.py", "--network_args", "nargs", "*"),
        ("zimage_train_network.py", "--lr_warmup_steps", "type", "int_or_float"),
        ("zimage_generate_image.py", "--image_size", "nargs", 2),
        ("zimage_generate_image.py", "--image_size", "default", [256, 256]),
        ("zimage_cache_latents.py", "--dataset_config", "required", True),
        ("ideogram4_train_network.py", "--timestep_sampling", "default", "ideogram4_shift"),
        ("zimage_train_network.py", "--timestep_sampling", "default", "sigma"),
        ("hv_1_5_train_network.py", "--task", "choices", ("t2v", "i2v")),
        ("krea2_generate_image.py", "prompt", "nargs", "?"),
        ("wan_generate_video.py", "--compile_args", "deprecated", True),
        ("qwen_image_train_network.py", "--edit_plus", "instead", "--model_version edit-2509"),
    ],
)
def test_an_argument_is_as_it_is_in_the_trainer(script: str, flag: str, field: str, value: object) -> None:
    assert getattr(option(script, flag), field) == value


def test_which_trainers_know_scaled_8_bit() -> None:
    knowing = {
        file
        for file, script in committed().scripts.items()
        if file.endswith("_train_network.py") and "--fp8_scaled" in script.options
    }
    assert {"zimage_train_network.py", "wan_train_network.py", "krea2_train_network.py"} <= knowing
    assert not {"hv_train_network.py", "ideogram4_train_network.py"} & knowing
    assert option("zimage_train_network.py", "--fp8_base").switch


def test_the_choices_come_from_constants_of_other_modules() -> None:
    tasks = option("wan_train_network.py", "--task").choices
    assert tasks is not None
    assert {"t2v-1.3B", "flf2v-14B", "t2v-1.3B-FC", "i2v-A14B"} <= set(tasks)
    samplings = option("zimage_train_network.py", "--timestep_sampling").choices
    assert samplings is not None
    assert {"shift", "flux_shift", "qwen_shift", "krea2_shift", "logsnr"} <= set(samplings)
    assert "INDUCTOR" in (option("zimage_train_network.py", "--dynamo_backend").choices or ())
    assert "k5-pro-t2v-5s-sd" in (option("kandinsky5_generate_video.py", "--task").choices or ())


def test_dataset_keys_have_the_types_and_places_of_the_schema() -> None:
    keys = committed().dataset
    assert (keys["source_fps"].type, keys["source_fps"].places) == ("float", ("video",))
    assert (keys["target_frames"].type, keys["target_frames"].places) == ("[int]", ("video",))
    assert keys["resolution"].places == ("general", "image", "video")
    assert keys["cache_directory"].places == ("image", "video")
    assert keys["flux_kontext_no_resize_control"].instead == "no_resize_control"


def test_all_of_it_could_be_read() -> None:
    scripts = committed().scripts.values()
    assert all(script.whole for script in scripts)
    unread = {(script.file, one.flag) for script in scripts for one in script.each() if one.unread}
    assert unread == {("merge_lora.py", "--device")}  # its default depends on the machine


def test_the_file_is_one_argument_a_line_and_holds_no_prose() -> None:
    text = COMMITTED.read_text(encoding="utf-8")
    assert text == to_json(committed())
    assert max(map(len, text.splitlines())) < 2000
    assert not re.search(r'"[^"]*\w+ \w+ \w+ \w+[^"]*"', re.sub(r'"groups": \[.*?\]', "", text))
