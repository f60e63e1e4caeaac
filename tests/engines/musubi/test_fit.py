"""Settings that fit the GPU: the ladder, what it takes, what it says, what is easier."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest

from musabi.engines.musubi import fit as fitting
from musabi.engines.musubi.fit import Rung, attention, easier, fit, ladder, need_gib, swap_arguments, workers
from musabi.engines.musubi.needs import UNMEASURED, pinned, ram_gib
from musabi.job.facts import BucketFacts, Facts, MachineFacts
from musabi.job.model import Job
from musabi.job.plan import Choice
from musabi.recipes import load, names

Jobs = Callable[..., Job]
Machines = Callable[..., Facts]
GIB = 1024**3
CARDS = (12, 16, 24, 32, 48, 80, 96, 141)


def on(facts: Facts, gib: int, ram: int = 128, **bucket: int) -> Facts:
    """Return the facts of a machine with one GPU of so many GiB, with one bucket of a megapixel."""
    one = BucketFacts(**{"width": 1024, "height": 1024, "images": 54, "batches": 27, **bucket})
    machine = MachineFacts(gpus=(gib * GIB,) if gib else (), cpus=8, ram=ram * GIB)
    return replace(facts, machine=machine, dataset=replace(facts.dataset, buckets=(one,)))


@pytest.mark.parametrize("name", names())
def test_each_rung_after_the_first_in_its_precision_takes_less(name: str, job: Jobs, facts: Machines) -> None:
    recipe = load(name)
    needs = [need_gib(rung, facts(), recipe) for rung in ladder(job(model=name), recipe)]
    assert needs == sorted(needs, reverse=True)
    assert len(set(needs)) == len(needs)


@pytest.mark.parametrize("name", names())
def test_a_larger_gpu_never_gets_a_leaner_way(name: str, job: Jobs, facts: Machines) -> None:
    recipe, made = load(name), job(model=name)
    rungs = ladder(made, recipe)
    places = [rungs.index(fit(made, on(facts(), gib), recipe).rung) for gib in CARDS]
    assert places == sorted(places, reverse=True)


@pytest.mark.parametrize("name", names())
def test_what_is_chosen_fits_or_is_the_leanest_and_said_not_to(name: str, job: Jobs, facts: Machines) -> None:
    recipe, made = load(name), job(model=name)
    for gib in CARDS:
        here = on(facts(), gib)
        found = fit(made, here, recipe)
        assert found.fits or found.rung == ladder(made, recipe)[-1]
        assert bool(fitting.warnings(made, here, recipe)) is not found.fits
        assert found.rung.swap <= recipe.limits.max_blocks_to_swap


@pytest.mark.parametrize(
    ("rung", "documented"),
    [
        (Rung(fp8=False, checkpointing=True, swap=0), 42),
        (Rung(fp8=True, checkpointing=True, swap=0), 30),
        (Rung(fp8=True, checkpointing=True, swap=16), 24),
        (Rung(fp8=True, checkpointing=True, swap=45), 12),
    ],
)
def test_the_figures_of_qwen_images_documents_are_met(rung: Rung, documented: int, facts: Machines) -> None:
    """docs/qwen_image.md of musubi-tuner: 1024 pixels, batch size 1."""
    assert need_gib(rung, on(facts(), 80), load("qwen-image")) == pytest.approx(documented, rel=0.15)


@pytest.mark.parametrize(
    ("name", "gib", "rung"),
    [
        ("z-image", 80, Rung(False, False, 0)),
        ("z-image", 24, Rung(False, True, 0)),
        ("z-image", 16, Rung(True, True, 0)),
        ("z-image", 12, Rung(True, True, 11)),
        ("z-image-turbo", 16, Rung(False, True, 11)),
        ("qwen-image", 48, Rung(False, True, 0)),
        ("qwen-image", 32, Rung(True, True, 0)),
        ("qwen-image", 24, Rung(True, True, 23)),
        ("qwen-image", 12, Rung(True, True, 52)),
    ],
)
def test_a_card_gets_this_way(name: str, gib: int, rung: Rung, job: Jobs, facts: Machines) -> None:
    assert fit(job(model=name), on(facts(), gib), load(name)).rung == rung


def test_turbo_with_its_adapter_is_never_held_in_8_bits(job: Jobs) -> None:
    made = job(model="z-image-turbo")
    assert "adapter" in made.weights
    assert not any(rung.fp8 for rung in ladder(made, load("z-image-turbo")))
    # Another model's recipe, which takes 8 bits, with weights to merge.
    assert not any(rung.fp8 for rung in ladder(made, load("z-image")))
    passed = job(extra_train_args=("--base_weights", "a.safetensors"))
    assert not any(rung.fp8 for rung in ladder(passed, load("z-image")))


@pytest.mark.parametrize(
    ("asked", "kept"),
    [
        ({"dit_precision": "bf16"}, lambda rung: not rung.fp8),
        ({"dit_precision": "fp8"}, lambda rung: rung.fp8),
        ({"extra_train_args": ("--fp8_base", "--fp8_scaled")}, lambda rung: rung.fp8),
        ({"gradient_checkpointing": False}, lambda rung: not rung.checkpointing),
        ({"gradient_checkpointing": True}, lambda rung: rung.checkpointing),
        ({"extra_train_args": ("--gradient_checkpointing",)}, lambda rung: rung.checkpointing),
        ({"blocks_to_swap": 5}, lambda rung: rung.swap == 5),
        ({"blocks_to_swap": 0}, lambda rung: rung.swap == 0),
        ({"extra_train_args": ("--blocks_to_swap", "7")}, lambda rung: rung.swap == 7),
    ],
)
def test_what_was_asked_for_is_on_every_rung_and_on_all_easier_ways(
    asked: dict[str, object], kept: Callable[[Rung], bool], job: Jobs, facts: Machines
) -> None:
    recipe, here, made = load("z-image"), on(facts(), 80), job(**asked)
    planned = fitting.choices(made, here, recipe)
    assert all(kept(rung) for rung in ladder(made, recipe))
    for tried in easier_ones(made, here, planned):
        assert kept(fit(tried, here, recipe).rung)


def easier_ones(made: Job, here: Facts, planned: tuple[Choice, ...]) -> list[Job]:
    """Return the jobs of all tries, each from the one before, as a plan's fallbacks are made."""
    found = [made]
    while (next_one := easier(found[-1], here, load(made.model), planned)) is not None:
        assert len(found) < 20, "it never ends"
        found.append(next_one[0])
    return found


@pytest.mark.parametrize("name", names())
def test_easier_ways_take_ever_less_until_none_is_left(name: str, job: Jobs, facts: Machines) -> None:
    recipe = load(name)
    here = on(facts(), 141)
    made = job(model=name)
    tries = easier_ones(made, here, fitting.choices(made, here, recipe))
    rungs = [fit(one, here, recipe).rung for one in tries]
    needs = [need_gib(rung, here, recipe) for rung in rungs]
    assert all(later < before for before, later in pairwise(needs))
    assert rungs[-1] == ladder(made, recipe)[-1]
    swaps = [rung for rung in rungs if rung.swap]
    assert recipe.limits.max_blocks_to_swap == 0 or len(swaps) > 1


def test_an_easier_way_is_told_as_settings_that_a_person_can_give(job: Jobs, facts: Machines) -> None:
    here, recipe = on(facts(), 80), load("z-image")
    planned = fitting.choices(job(), here, recipe)
    told, now = [], job()
    while (found := easier(now, here, recipe, planned)) is not None:
        now, said = found
        told.append(said)
    assert told[:3] == ["GRADIENT_CHECKPOINTING=1", "DIT_PRECISION=fp8", "BLOCKS_TO_SWAP=11"]
    assert told[-1] == "BLOCKS_TO_SWAP=28"


def test_without_a_gpu_nothing_is_easier(job: Jobs, facts: Machines) -> None:
    assert easier(job(), on(facts(), 0), load("z-image")) is None


def test_a_cpu_trains_in_16_bits_with_checkpointing_and_swaps_nothing(job: Jobs, facts: Machines) -> None:
    found = fit(job(), on(facts(), 0), load("z-image"))
    assert found.rung == Rung(fp8=False, checkpointing=True, swap=0)
    assert found.fits


def test_a_large_lora_under_prodigy_counts(job: Jobs, facts: Machines) -> None:
    """320 million values at rank 128, 24 bytes each, in place of rank 32 at 10 bytes."""
    here, recipe = replace(on(facts(), 80), lora_parameters=320_000_000), load("z-image")
    rung = Rung(fp8=False, checkpointing=True, swap=0)
    more = need_gib(rung, here, recipe, job(network_dim=128)) - need_gib(rung, here, recipe)
    assert more == pytest.approx((320e6 * 24 - 80e6 * 10) / GIB)


def test_a_video_takes_memory_for_each_of_its_latent_frames(facts: Machines) -> None:
    recipe = load("wan2.1-t2v-14b")
    rung = Rung(fp8=False, checkpointing=True, swap=0)
    one, nine = (need_gib(rung, on(facts(), 80, frames=frames), recipe) for frames in (1, 33))
    each = recipe.memory.checkpointed_gib * UNMEASURED * 1024 * 1024 / 1e6
    assert nine - one == pytest.approx(8 * each)


def test_swapped_blocks_are_pinned_where_main_memory_allows(job: Jobs, facts: Machines) -> None:
    recipe, rung = load("qwen-image"), Rung(fp8=True, checkpointing=True, swap=52)
    roomy, tight, unknown = (on(facts(), 12, ram=ram) for ram in (64, 30, 0))
    assert [pinned(rung, job(model="qwen-image"), here, recipe) for here in (roomy, tight, unknown)] == [
        True,
        False,
        False,
    ]
    assert swap_arguments(rung, job(model="qwen-image"), roomy, recipe) == (
        "--blocks_to_swap",
        "52",
        "--block_swap_h2d_only",
        "--use_pinned_memory_for_block_swap",
    )
    both_ways = replace(rung, checkpointing=False)
    assert "--block_swap_h2d_only" not in swap_arguments(both_ways, job(), tight, recipe)
    passed = job(extra_train_args=("--blocks_to_swap", "52", "--block_swap_h2d_only"))
    assert swap_arguments(rung, passed, tight, recipe) == ()
    assert swap_arguments(replace(rung, swap=0), job(), roomy, recipe) == ()


def test_main_memory_that_is_too_small_is_told_with_its_reason(job: Jobs, facts: Machines) -> None:
    cases = {
        "qwen-image": (12, 24, "loaded there first"),
        "wan2.2-t2v-a14b-both": (80, 24, "waits there"),
        "z-image": (0, 12, "without a GPU"),
    }
    for name, (gpu, ram, why) in cases.items():
        made, recipe = job(model=name), load(name)
        (said,) = [
            one for one in fitting.warnings(made, on(facts(), gpu, ram), recipe) if "main memory" in one
        ]
        assert why in said
        assert not any("main memory" in one for one in fitting.warnings(made, on(facts(), gpu, 128), recipe))


def test_each_gpus_process_takes_main_memory_of_its_own(job: Jobs, facts: Machines) -> None:
    recipe, made, one = load("qwen-image"), job(model="qwen-image"), on(facts(), 24, ram=64)
    rung = fit(made, one, recipe).rung
    four = replace(one, machine=replace(one.machine, gpus=one.machine.gpus * 4))
    assert ram_gib(rung, made, four, recipe) == 4 * ram_gib(rung, made, one, recipe)
    assert pinned(rung, made, one, recipe) and not pinned(rung, made, four, recipe)
    assert not fitting.warnings(made, one, recipe)
    assert "main memory" in fitting.warnings(made, four, recipe)[0]


def test_a_file_that_is_read_whole_counts_in_main_memory(job: Jobs, facts: Machines) -> None:
    recipe, made = load("hunyuan-video"), job(model="hunyuan-video")
    rung = Rung(fp8=False, checkpointing=True, swap=0)
    assert made.dit.suffix == ".pt"
    other = made.model_copy(update={"weights": made.weights | {"dit": made.dit.with_suffix(".safetensors")}})
    here = on(facts(), 80)
    difference = ram_gib(rung, made, here, recipe) - ram_gib(rung, other, here, recipe)
    assert difference == pytest.approx(recipe.weights["dit"].gigabytes * 1e9 / GIB)


def told(made: Job, here: Facts) -> list[str]:
    found = fitting.choices(made, here, load(made.model))
    return [f"{one.setting}: {one.value} ({one.why})" for one in found]


def test_the_choices_of_a_small_card_in_words(job: Jobs, facts: Machines) -> None:
    assert told(job(), on(facts(), 12)) == [
        "model precision: fp8 (in bf16 it would not fit; about 11 of 11 GiB of GPU memory)",
        "gradient checkpointing: on (the activations would not fit)",
        "blocks swapped: 11 (the rest fits; they wait in pinned main memory, copied one way, as a LoRA leaves "
        "the model as it is)",
        "batch size: 1 (from the dataset TOML; more would not fit with these settings)",
        "compile: off (it compiles anew for each bucket, some minutes each; COMPILE=1 pays on long runs with few)",
        "data loader workers: 2 (cache files are small to read; 8 cores)",
        "text encoder precision: fp8 (in 16 bits it would not fit)",
    ]


def test_the_choices_of_a_large_card_in_words(job: Jobs, facts: Machines) -> None:
    assert told(job(), on(facts(), 141)) == [
        "model precision: bf16 (nothing is lost by rounding; about 51 of 133 GiB of GPU memory)",
        "gradient checkpointing: off (the activations fit, so nothing is computed twice; about 51 of 133 GiB of "
        "GPU memory)",
        "blocks swapped: 0 (all blocks fit)",
        "batch size: 1 (from the dataset TOML; batch_size = 3 would fit as well)",
        "compile: off (it compiles anew for each bucket, some minutes each; COMPILE=1 pays on long runs with few)",
        "data loader workers: 2 (cache files are small to read; 8 cores)",
        "text encoder precision: bf16 (it fits, and nothing is lost by rounding)",
    ]


def test_everything_that_was_asked_for_is_called_so(job: Jobs, facts: Machines) -> None:
    made = job(
        dit_precision="bf16",
        gradient_checkpointing=True,
        blocks_to_swap=0,
        compile=True,
        data_loader_workers=0,
        caching={"fp8_text_encoder": True},
    )
    chosen = fitting.choices(made, on(facts(), 80), load("z-image"))
    assert {one.setting: one.why for one in chosen if one.setting != "batch size"} == dict.fromkeys(
        (
            "model precision",
            "gradient checkpointing",
            "blocks swapped",
            "compile",
            "data loader workers",
            "text encoder precision",
        ),
        "asked for",
    )


@pytest.mark.parametrize("now", [1, 2])
def test_the_advised_batch_size_fits_and_one_more_does_not(now: int, job: Jobs, facts: Machines) -> None:
    recipe, here = load("z-image"), on(facts(), 141, batch=now)
    (choice,) = [one for one in fitting.choices(job(), here, recipe) if one.setting == "batch size"]
    assert choice.value == str(now)
    advised = int(choice.why.partition("batch_size = ")[2].split()[0])
    found = fit(job(), here, recipe)
    for batch, fits in ((advised, True), (advised + 1, False)):
        assert (need_gib(found.rung, on(facts(), 141, batch=batch), recipe) <= found.room_gib) is fits


def test_a_batch_size_that_does_not_fit_is_told_with_one_that_does(job: Jobs, facts: Machines) -> None:
    here = on(facts(), 24, batch=64)
    (choice,) = [one for one in fitting.choices(job(), here, load("z-image")) if one.setting == "batch size"]
    assert (choice.value, choice.why.endswith("would fit better")) == ("64", True)
    assert fitting.warnings(job(), here, load("z-image"))


def test_flash_attention_is_used_where_it_was_proven_and_the_model_takes_it(
    job: Jobs, facts: Machines
) -> None:
    recipe = load("z-image")
    proven = facts(packages=("flash_attn",))
    assert attention(job(), proven, recipe) == "flash_attn"
    assert attention(job(), facts(), recipe) == "sdpa"
    assert attention(job(), on(proven, 0), recipe) == "sdpa"
    assert attention(job(attention="xformers"), proven, recipe) == "xformers"
    assert attention(job(extra_train_args=("--sdpa",)), proven, recipe) is None


@pytest.mark.parametrize(("cpus", "wanted"), [(1, 1), (2, 1), (3, 2), (64, 2)])
def test_two_processes_load_batches_where_there_are_cores(
    cpus: int, wanted: int, job: Jobs, facts: Machines
) -> None:
    here = replace(facts(), machine=MachineFacts(cpus=cpus))
    assert workers(job(), here) == wanted
    assert workers(job(data_loader_workers=5), here) == 5
