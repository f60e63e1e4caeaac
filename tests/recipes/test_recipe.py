"""Recipes: every one is whole, fits the trainer that it is for, and shares its weights with the others."""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from musabi.contract import Surface, committed, faults
from musabi.errors import RequestError
from musabi.recipes import Recipe, load, names
from musabi.recipes.load import merged
from musabi.recipes.recipe import Sampler, Script, StepKind

STEPS: tuple[StepKind, ...] = ("cache-latents", "cache-text", "train", "sample")
EVERY = pytest.mark.parametrize("name", names())
SAID_BY_PLANS = {"--dataset_config"}
"""Arguments that every plan gives and no recipe names."""


@pytest.fixture(scope="module")
def surface() -> Surface:
    return committed()


def arguments(script: Script, recipe: Recipe) -> Iterator[tuple[str, ...]]:
    """Yield each argument that a recipe gives a script, with its value."""
    for flag in script.weights | script.while_sampling:
        yield (flag, "weights.safetensors")
    for argument in script.always:
        yield (argument.flag,) if argument.value is None else (argument.flag, argument.value)
    if script.fp8_text_encoder:
        yield (script.fp8_text_encoder,)
    if isinstance(script, Sampler):
        yield from ((switch,) for switch in script.fp8)
        # Without an argument for it, the kinds of attention are switches.
        said = script.flags.get("attention")
        yield from ((said, kind) if said else (kind,) for kind in script.attention.values())
    if script is recipe.scripts.train:
        yield from ((f"--{kind}",) for kind in recipe.limits.attention)


@EVERY
def test_every_recipe_is_whole(name: str) -> None:
    recipe = load(name)
    assert recipe.name == name
    assert recipe.network.modules, "no layers are named"
    assert all(argument.why for step in STEPS for argument in recipe.scripts.of(step).always)
    assert all(trap.what.endswith(".") and trap.do.endswith(".") for trap in recipe.traps)
    assert recipe.licence and recipe.title


@EVERY
def test_scripts_take_the_weights_that_there_are_and_all_of_them(name: str) -> None:
    recipe = load(name)
    scripts = [recipe.scripts.of(step) for step in STEPS]
    taken = {role for script in scripts for role in (script.weights | script.while_sampling).values()}
    assert taken == recipe.weights.keys() - {"adapter"}


@EVERY
@pytest.mark.parametrize("step", STEPS)
def test_the_trainer_knows_every_argument_and_value(name: str, step: StepKind, surface: Surface) -> None:
    recipe = load(name)
    script = recipe.scripts.of(step)
    for argv in arguments(script, recipe):
        wrong = [
            fault.message
            for fault in faults(surface, script.file, argv)
            if fault.what not in ("required", "twice")
        ]
        assert not wrong


@EVERY
@pytest.mark.parametrize("step", STEPS)
def test_what_a_script_requires_is_given(name: str, step: StepKind, surface: Surface) -> None:
    recipe = load(name)
    script = recipe.scripts.of(step)
    argv = [part for argument in arguments(script, recipe) for part in argument]
    lacking = {fault.flag for fault in faults(surface, script.file, argv) if fault.what == "required"}
    said = {*script.flags.values()} if isinstance(script, Sampler) else set()
    assert lacking <= SAID_BY_PLANS | said


@EVERY
def test_the_generate_script_knows_what_is_said_to_it(name: str, surface: Surface) -> None:
    script = load(name).scripts.sample
    options = surface.scripts[script.file].options
    assert {flag for flag in script.flags.values() if flag} <= options.keys()
    placed = {meaning for meaning, flag in script.flags.items() if not flag} - {"attention"}
    assert len(placed) <= sum(option.positional for option in surface.scripts[script.file].each())
    assert script.flags.keys() & {"prompt", "prompts"} and script.flags.keys() & {"folder", "file"}


@EVERY
def test_samples_have_a_size_that_the_model_makes(name: str) -> None:
    sampling = load(name).sampling
    assert sampling.width % sampling.multiple == sampling.height % sampling.multiple == 0


@EVERY
def test_what_a_prompt_must_say_is_known_and_reaches_the_sampler(name: str) -> None:
    sampling, sampler = load(name).sampling, load(name).scripts.sample
    assert set(sampling.prompt_needs) <= set(sampling.prompt_flags)
    said = {"i": "image", "ei": "end_image", "ci": "control", "cn": "control", "of": "one_frame"}
    if "prompts" not in sampler.flags:
        assert {said[flag] for flag in sampling.prompt_needs} <= sampler.flags.keys()


def test_models_that_start_from_a_picture_can_do_nothing_without_it() -> None:
    needs = {name: load(name).sampling.prompt_needs for name in names()}
    from_picture = {name for name in names() if "i2v" in name or name.startswith("framepack")}
    assert all("i" in needs[name] for name in from_picture | {"wan2.1-one-frame"})
    edits = {name for name in names() if name.startswith("qwen-image-")} | {"flux1-kontext"}
    assert {needs[name] for name in edits} == {("ci",)}
    assert needs["wan2.1-flf2v-14b"] == ("i", "ei", "ci", "of")
    assert {flags for name, flags in needs.items() if name.startswith("wan2.1-fun-control")} == {
        ("cn",),
        ("i", "cn"),
    }
    assert needs["z-image"] == ()


@EVERY
def test_traps_name_no_flag_that_a_prompt_can_not_have(name: str) -> None:
    recipe = load(name)
    lines = [trap.do for trap in recipe.traps if trap.do.startswith("Write: prompt ")]
    named = {part.split()[0] for line in lines for part in line.split(" --")[1:]}
    assert named <= set(recipe.sampling.prompt_flags)


@EVERY
def test_refused_arguments_are_ones_that_a_script_of_the_model_has(name: str, surface: Surface) -> None:
    recipe = load(name)
    known = {flag for file in recipe.scripts.files for flag in surface.scripts[file].options}
    assert recipe.unusable.keys() <= known


@EVERY
def test_dataset_keys_are_ones_that_the_trainer_has(name: str, surface: Surface) -> None:
    rules = load(name).dataset
    known = {key for key, told in surface.dataset.items() if not told.instead}
    assert {*rules.keys, *rules.example} <= known


@EVERY
def test_memory_figures_can_be(name: str) -> None:
    recipe = load(name)
    memory = recipe.memory
    assert memory.checkpointed_gib < memory.stored_gib
    assert recipe.limits.max_blocks_to_swap <= memory.blocks
    held = memory.dit_billions * (1 if recipe.limits.fp8 == "stored" else 2)
    assert recipe.weights["dit"].gigabytes >= 0.9 * held


def files() -> Iterator[tuple[str, str, str, bool]]:
    """Yield the folder, repo, path and gate of every weight file of every recipe."""
    for name in names():
        for one in load(name).weights.values():
            yield from ((one.folder, one.repo, path, one.gated) for path in one.files)


def test_a_file_that_models_share_is_kept_once() -> None:
    places: dict[tuple[str, str], set[str]] = defaultdict(set)
    for folder, repo, path, _ in files():
        places[repo, path].add(folder)
    assert {file: found for file, found in places.items() if len(found) > 1} == {}


def test_different_files_never_meet_under_one_name() -> None:
    owners: dict[tuple[str, str], set[tuple[str, str]]] = defaultdict(set)
    for folder, repo, path, _ in files():
        owners[folder, Path(path).name].add((repo, path))
    assert {place: found for place, found in owners.items() if len(found) > 1} == {}


def test_a_repo_is_gated_for_all_models_or_for_none() -> None:
    gates: dict[str, set[bool]] = defaultdict(set)
    for _, repo, _, gated in files():
        gates[repo].add(gated)
    assert {repo for repo, found in gates.items() if len(found) > 1} == set()


def test_a_name_or_alias_means_one_model() -> None:
    said = [word for name in names() for word in (name, *load(name).aliases)]
    assert len(said) == len(set(said))
    assert load("zimage") == load("z-image")


def test_models_that_can_share_weights_do() -> None:
    def files_of(name: str, role: str) -> tuple[str, tuple[str, ...]]:
        one = next(one for kind, one in load(name).weights.items() if kind == role)
        return one.folder, one.files

    assert (
        files_of("krea-2", "vae") == files_of("qwen-image", "vae") == files_of("qwen-image-edit-2511", "vae")
    )
    assert files_of("flux2-klein-base-4b", "text_encoder") == files_of("z-image", "text_encoder")
    assert files_of("flux2-klein-9b", "vae") == files_of("flux2-dev", "vae")


def test_a_trainer_is_given_the_first_shard() -> None:
    first = {role: one.first for role, one in load("z-image").weights.items()}
    assert first == {
        "dit": "diffusion_pytorch_model-00001-of-00002.safetensors",
        "vae": "ae.safetensors",
        "text_encoder": "model-00001-of-00003.safetensors",
    }


@EVERY
def test_shards_are_all_there_and_in_order(name: str) -> None:
    for one in load(name).weights.values():
        if "-of-" in one.first:
            stem, _, rest = one.first.rpartition("-of-")
            count = int(rest.split(".")[0])
            assert [Path(path).name for path in one.files] == [
                f"{stem[:-5]}{number:05d}-of-{rest}" for number in range(1, count + 1)
            ]


def test_a_model_is_trained_as_its_documents_say() -> None:
    def always(name: str) -> dict[str, str | None]:
        return {argument.flag: argument.value for argument in load(name).scripts.train.always}

    assert always("z-image") == {
        "--timestep_sampling": "shift",
        "--discrete_flow_shift": "2.0",
        "--weighting_scheme": "none",
    }
    assert always("qwen-image-edit-2511")["--model_version"] == "edit-2511"
    assert always("hidream-o1-dev")["--noise_clip_std"] == "2.5"
    assert always("flux2-klein-base-9b") == {
        "--model_version": "klein-base-9b",
        "--timestep_sampling": "flux2_shift",
        "--weighting_scheme": "none",
    }


def test_an_unknown_model_is_refused_with_the_known_ones() -> None:
    with pytest.raises(RequestError, match=r'"z-imag".*z-image'):
        load("z-imag")


def own_recipe(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> None:
    (folder / f"{name}.toml").write_text(text, encoding="utf-8")
    monkeypatch.setenv("MUSABI_RECIPES", str(folder))


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        (
            "odd-key",
            'extends = "z-image"\nname = "odd-key"\ntitle = "Odd"\n[limits]\nbloks = 3\n',
            "limits.bloks",
        ),
        (
            "odd-value",
            'extends = "z-image"\nname = "odd-value"\ntitle = "Odd"\n[limits]\nfp8 = "on"\n',
            "limits.fp8",
        ),
        ("odd-name", 'extends = "z-image"\nname = "other"\ntitle = "Odd"\n', "other.toml"),
        ("odd-family", 'extends = "no-such"\nname = "odd-family"\n', "no-such"),
        ("odd-toml", "name = \n", "is not TOML"),
    ],
)
def test_a_wrong_recipe_is_refused_with_its_file_and_key(
    name: str, text: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_recipe(tmp_path, monkeypatch, name, text)
    with pytest.raises(RequestError, match=said) as refused:
        load(name)
    assert f"{name}.toml" in str(refused.value)


def test_tables_are_laid_over_key_by_key_and_lists_as_a_whole() -> None:
    base = {"a": {"x": 1, "y": [1, 2]}, "b": [1]}
    assert merged(base, {"a": {"y": [3]}, "c": 4}) == {"a": {"x": 1, "y": [3]}, "b": [1], "c": 4}
