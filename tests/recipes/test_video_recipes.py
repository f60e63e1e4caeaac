"""The recipes of video models: what the trainer's scripts take, and the rules that only these models have."""

import tomllib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from musabi.contract import committed, dataset_faults, faults
from musabi.dataset.config import read_config
from musabi.recipes import load, names
from musabi.recipes.job_files import dataset_file
from musabi.recipes.recipe import Meaning, Recipe, Script

FPS = {"wan": 16, "hv": 24, "hv15": 24, "fp": 30, "k5": 24}
"""musubi-tuner v0.3.4, dataset/image_video_dataset.py."""
VIDEO_MODELS = tuple(name for name in names() if load(name).architecture in FPS)

# What a sampler may be told, as text.
SAID: dict[Meaning, tuple[str, ...]] = {
    "prompt": ("a cat",),
    "prompts": ("prompts.txt",),
    "folder": ("samples",),
    "file": ("sample.mp4",),
    "size": ("480", "832"),
    "width": ("832",),
    "height": ("480",),
    "frames": ("81",),
    "seconds": ("4.83",),
    "steps": ("20",),
    "guidance": ("5",),
    "embedded_guidance": ("6",),
    "flow_shift": ("5",),
    "negative": ("",),
    "seed": ("42",),
    "lora": ("lora.safetensors",),
    "multiplier": ("1.0",),
    "lora_high": ("lora.safetensors",),
    "multiplier_high": ("1.0",),
    "swap": ("4",),
    "fps": ("16",),
    "image": ("start.png",),
    "end_image": ("end.png",),
    "control": ("control.png",),
    "latents": ("latent.safetensors",),
    "output_type": ("images",),
    "one_frame": ("target_index=1,control_index=0",),
}

# Blocks of each kind, from the models' own classes on the meta device, and the modules that a LoRA has in all.
BLOCKS = {
    "wan2.1-t2v-1.3b": ({"blocks": 30}, 300),
    "wan2.1-t2v-14b": ({"blocks": 40}, 400),
    "wan2.1-i2v-14b-720p": ({"blocks": 40}, 480),
    "wan2.1-flf2v-14b": ({"blocks": 40}, 480),
    "wan2.1-fun-control-1.3b": ({"blocks": 30}, 360),
    "wan2.1-fun-control-14b-i2v": ({"blocks": 40}, 480),
    "wan2.2-i2v-a14b-both": ({"blocks": 40}, 400),
    "hunyuan-video": ({"double_blocks": 20, "single_blocks": 40}, 240),
    "hunyuan-video-1.5-t2v": ({"double_blocks": 54}, 756),
    "framepack": ({"transformer_blocks": 20, "single_transformer_blocks": 40}, 440),
    "kandinsky-5-pro-t2v": ({"text_transformer_blocks": 4, "visual_transformer_blocks": 60}, 624),
    "kandinsky-5-lite-t2v": ({"text_transformer_blocks": 2, "visual_transformer_blocks": 32}, 332),
}


def _files(script: Script) -> Iterator[str]:
    for flag, role in (script.weights | script.while_sampling).items():
        yield from (flag, f"/models/{role}.safetensors")


def _always(script: Script) -> Iterator[str]:
    for argument in script.always:
        yield argument.flag
        if argument.value is not None:
            yield argument.value


def _line(script: Script) -> tuple[str, ...]:
    """Return all that a recipe says to a script."""
    small = (script.fp8_text_encoder,) if script.fp8_text_encoder else ()
    return (*_files(script), *small, *_always(script))


def _set_by(recipe: Recipe) -> dict[str, str | None]:
    return {argument.flag: argument.value for argument in recipe.scripts.train.always}


@pytest.mark.parametrize("name", VIDEO_MODELS)
def test_the_scripts_take_all_that_a_recipe_gives_them(name: str) -> None:
    scripts, surface = load(name).scripts, committed()
    for script in (scripts.cache_latents, scripts.cache_text, scripts.train):
        line = ("--dataset_config", "dataset.toml", *_line(script))
        assert faults(surface, script.file, line) == (), script.file


@pytest.mark.parametrize("name", VIDEO_MODELS)
def test_the_sampler_takes_all_that_it_is_told(name: str) -> None:
    sampler, surface = load(name).scripts.sample, committed()
    preset = {argument.flag for argument in sampler.always}
    for kind in sampler.attention.values():
        said = SAID | {"attention": (kind,)}
        told = [
            part
            for meaning, flag in sampler.flags.items()
            if flag not in preset
            for part in ((flag, *said[meaning]) if flag else said[meaning])
        ]
        assert faults(surface, sampler.file, (*_line(sampler), *sampler.fp8, *told)) == ()


@pytest.mark.parametrize("name", VIDEO_MODELS)
def test_a_video_model_has_its_own_frame_rate_and_clips_of_four_frames_and_one(name: str) -> None:
    recipe = load(name)
    assert recipe.dataset.fps == FPS[recipe.architecture]
    assert recipe.dataset.latent_frames == 4
    lengths = recipe.dataset.example.get("target_frames", [])
    assert isinstance(lengths, list)
    assert all(frames % 4 == 1 for frames in lengths)
    if recipe.architecture != "k5":  # counts latent frames
        assert recipe.sampling.frames % 4 == 1


@pytest.mark.parametrize(("name", "blocks", "modules"), [(name, *row) for name, row in BLOCKS.items()])
def test_a_lora_has_as_many_modules_as_the_trainer_makes(
    name: str, blocks: dict[str, int], modules: int
) -> None:
    templates = load(name).network.modules
    assert sum(blocks[template.partition(".#.")[0]] for template in templates) == modules
    assert len(set(templates)) == len(templates)


@pytest.mark.parametrize(("kind", "boundary"), [("t2v", "875"), ("i2v", "900")])
def test_the_halves_of_wan_2_2_train_their_own_timesteps(kind: str, boundary: str) -> None:
    high, low = (_set_by(load(f"wan2.2-{kind}-a14b-{half}")) for half in ("high", "low"))
    assert (high["--min_timestep"], high["--max_timestep"]) == (boundary, "1000")
    assert (low["--min_timestep"], low["--max_timestep"]) == ("0", boundary)
    assert "--preserve_distribution_shape" in high
    assert "--preserve_distribution_shape" in low


@pytest.mark.parametrize(("kind", "boundary"), [("t2v", "875"), ("i2v", "900")])
def test_both_models_of_wan_2_2_train_in_one_run(kind: str, boundary: str) -> None:
    recipe = load(f"wan2.2-{kind}-a14b-both")
    given = _set_by(recipe)
    assert given["--timestep_boundary"] == boundary
    assert "--offload_inactive_dit" in given
    assert recipe.limits.max_blocks_to_swap == 0
    assert not given.keys() & {"--min_timestep", "--max_timestep"}
    assert recipe.scripts.train.weights["--dit_high_noise"] == "dit_high_noise"
    assert "low_noise" in recipe.weights["dit"].first
    assert "high_noise" in recipe.weights["dit_high_noise"].first


def test_a_half_of_wan_2_2_shares_its_file_with_the_recipe_of_both() -> None:
    both = load("wan2.2-t2v-a14b-both").weights
    assert load("wan2.2-t2v-a14b-low").weights["dit"] == both["dit"]
    assert load("wan2.2-t2v-a14b-high").weights["dit"] == both["dit_high_noise"]


@pytest.mark.parametrize("name", [name for name in VIDEO_MODELS if name.startswith("wan2.2")])
def test_wan_2_2_has_no_clip(name: str) -> None:
    recipe = load(name)
    assert not recipe.has("clip")
    assert "--clip" in recipe.unusable


def test_the_precision_of_wan_follows_the_file() -> None:
    wan = [load(name) for name in VIDEO_MODELS if load(name).architecture == "wan"]
    assert {recipe.limits.precision for recipe in wan} == {"file"}


def test_a_file_of_the_hub_is_kept_once() -> None:
    places: dict[tuple[str, str], set[str]] = defaultdict(set)
    owners: dict[tuple[str, str], set[tuple[str, str]]] = defaultdict(set)
    for recipe in map(load, names()):
        for weights in recipe.weights.values():
            for file in weights.files:
                places[weights.repo, file].add(weights.folder)
                owners[weights.folder, file.rpartition("/")[2]].add((weights.repo, file))
    assert [file for file, folders in places.items() if len(folders) > 1] == []
    assert [place for place, files in owners.items() if len(files) > 1] == []


def test_the_families_share_their_encoders() -> None:
    wan = [load(name) for name in VIDEO_MODELS if load(name).architecture == "wan"]
    hunyuan = [load(name) for name in ("hunyuan-video", "framepack", "framepack-f1", "kandinsky-5-pro-t2v")]
    assert len({(recipe.weights["vae"], recipe.weights["text_encoder"]) for recipe in wan}) == 1
    assert len({recipe.weights["vae"] for recipe in hunyuan}) == 1
    assert len({recipe.weights["text_encoder"] for recipe in hunyuan[:3]}) == 1
    siglip = [load(name).weights["image_encoder"] for name in ("framepack", "hunyuan-video-1.5-i2v")]
    assert siglip[0] == siglip[1]


@pytest.mark.parametrize("name", ["wan2.1-one-frame", "wan2.1-flf2v-14b", "framepack-one-frame"])
def test_single_frames_are_sampled_with_the_indices_that_are_trained(name: str) -> None:
    recipe = load(name)
    example = recipe.dataset.example
    indices = dict(part.split("=") for part in str(recipe.sampling.one_frame).split(",") if "=" in part)
    assert recipe.scripts.sample.flags["one_frame"] == "--one_frame_inference"
    assert [int(index) for index in indices["control_index"].split(";")] == example["fp_1f_clean_indices"]
    assert int(indices["target_index"]) == example["fp_1f_target_index"]
    assert recipe.dataset.control == "each_index"
    assert set(recipe.dataset.keys) >= {"fp_1f_clean_indices", "fp_1f_target_index"}


def test_kandinsky_is_given_its_text_encoders_as_folders() -> None:
    weights = load("kandinsky-5-pro-t2v").weights
    assert (weights["text_encoder"].first, weights["text_encoder2"].first) == ("", "")
    assert weights["vae"].first == "diffusion_pytorch_model.safetensors"


def test_framepack_reads_whole_clips_and_knows_its_window() -> None:
    recipe = load("framepack")
    assert recipe.dataset.takes == ("video",)
    assert recipe.dataset.example["frame_extraction"] == "full"
    assert "fp_latent_window_size" in recipe.dataset.keys
    assert (recipe.sampling.frames - 1) % (9 * 4) == 0


def test_layers_that_comfyui_keeps_as_one_are_all_trained() -> None:
    recipe = load("hunyuan-video-1.5-t2v")
    parts = [part for fused in recipe.conversion.fused.values() for part in fused]
    assert parts
    assert set(parts) <= set(recipe.network.modules)


def test_a_recipe_keeps_the_traps_of_its_family() -> None:
    told = [trap.what for trap in load("wan2.2-t2v-a14b-both").traps]
    assert any("fp16" in what for what in told)
    assert any("--timestep_boundary" in what for what in told)


@pytest.mark.parametrize("name", VIDEO_MODELS)
def test_the_dataset_file_that_init_writes_can_be_trained_on(name: str, tmp_path: Path) -> None:
    recipe = load(name)
    path = tmp_path / "dataset.toml"
    for folder in ("images", "videos", "control", "cache"):
        (tmp_path / folder).mkdir()
    path.write_text(dataset_file(recipe, tmp_path), encoding="utf-8")
    read_config(path, recipe.dataset, recipe.architecture)
    assert dataset_faults(committed(), tomllib.loads(path.read_text(encoding="utf-8"))) == ()
