"""What is refused before anything starts, each with its words."""

from collections.abc import Callable
from pathlib import Path

import pytest

from musabi.engines.musubi.engine import MusubiEngine
from musabi.errors import MachineError, RequestError
from musabi.job.facts import BucketFacts, CacheFacts, DatasetFacts, Facts
from musabi.job.model import Job
from musabi.job.plan import Schedule

MakeJob = Callable[..., Job]
MakeFacts = Callable[..., Facts]

REFUSED_ARGUMENTS = {
    "base weights on fp8": (("--base_weights", "a", "--fp8_base", "--fp8_scaled"), "round away"),
    "fp8_scaled alone": (("--fp8_scaled",), "together with --fp8_base"),
    "dim_from_weights": (("--dim_from_weights",), "NETWORK_DIM"),
    "sage_attn": (("--sage_attn",), "can't train"),
    "flash3": (("--flash3",), "FlashAttention 3"),
    "two attentions": (("--sdpa", "--xformers"), "exclude each other"),
    "persistent workers without workers": (
        ("--max_data_loader_n_workers", "0", "--persistent_data_loader_workers"),
        "needs workers",
    ),
    "output folder": (("--output_dir", "/x"), "OUTPUT_DIR"),
    "output folder with =": (("--output_dir=/x",), "OUTPUT_DIR"),
    "secret": (("--huggingface_token", "hf_x"), "show a secret"),
    "publishing": (("--huggingface_repo_id", "a/b"), "moved out of the trainer's folder"),
    "config file": (("--config_file", "a.toml"), "so that they can be checked"),
    "retention": (("--save_last_n_epochs", "2"), "KEEP_LAST_STATES"),
    "samples by steps": (("--sample_every_n_steps", "5"), "renders twice"),
    "prodigy by a bare name": (("--optimizer_type", "prodigy"), "musabi train"),
    "an optimizer argument that is no pair": (("--optimizer_args", "weight_decay"), "name=value"),
    "an optimizer argument with a bare word": (("--optimizer_args", "betas=big"), "name=value"),
    "a network argument with two signs": (("--network_args", "a=b=c"), "name=value"),
    "a warm-up of a constant rate": (("--lr_warmup_steps", "10"), "constant_with_warmup"),
    "fp8_base alone with batches": (("--fp8_base",), "batch_size above 1"),
    "a value first": (("3", "--seed"), "Begin with a flag"),
}


@pytest.mark.parametrize("case", REFUSED_ARGUMENTS)
def test_an_argument_that_can_not_work_is_refused(
    case: str, engine: MusubiEngine, job: MakeJob, facts: MakeFacts
) -> None:
    args, words = REFUSED_ARGUMENTS[case]
    with pytest.raises(RequestError, match=words):
        engine.refuse(job(extra_train_args=args), facts())


@pytest.mark.parametrize("flag", ["--keep_cache", "--debug_mode", "--skip_existing"])
def test_a_caching_argument_that_would_spoil_the_caches_is_refused(
    flag: str, engine: MusubiEngine, job: MakeJob, facts: MakeFacts
) -> None:
    with pytest.raises(RequestError, match=flag):
        engine.refuse(job(extra_cache_args=(flag,)), facts())


def test_what_works_is_let_through(engine: MusubiEngine, job: MakeJob, facts: MakeFacts) -> None:
    more = ("--optimizer_args", "betas=0.9,0.99", "d0=1e-5", "decouple=True", "--fp8_base", "--split_attn")
    wanted = job(
        extra_train_args=("--network_dropout", "0.1", "--network_args", "loraplus_lr_ratio=4", *more)
    )
    engine.refuse(wanted, facts())


def test_too_many_swapped_blocks_are_refused(engine: MusubiEngine, job: MakeJob, facts: MakeFacts) -> None:
    engine.refuse(job(blocks_to_swap=28), facts())
    with pytest.raises(RequestError, match="28 blocks at most"):
        engine.refuse(job(blocks_to_swap=29), facts())


def test_swapping_blocks_needs_a_gpu(engine: MusubiEngine, job: MakeJob, facts: MakeFacts) -> None:
    with pytest.raises(MachineError, match="needs a GPU"):
        engine.refuse(job(blocks_to_swap=4), facts(gpus=0))
    engine.refuse(job(blocks_to_swap=0), facts(gpus=0))


def test_fp16_needs_a_gpu(engine: MusubiEngine, job: MakeJob, facts: MakeFacts) -> None:
    wanted = job(extra_train_args=("--mixed_precision", "fp16"))
    with pytest.raises(MachineError, match="fp16 needs a GPU"):
        engine.refuse(wanted, facts(gpus=0))


def test_an_attention_library_that_is_not_there_is_refused(
    engine: MusubiEngine, job: MakeJob, facts: MakeFacts
) -> None:
    with pytest.raises(MachineError, match="fail at the first step"):
        engine.refuse(job(extra_train_args=("--flash_attn",)), facts())


def test_prodigy_without_its_package_is_refused(engine: MusubiEngine, job: MakeJob, facts: MakeFacts) -> None:
    with pytest.raises(MachineError, match="no prodigyopt"):
        engine.refuse(job(), facts(packages=("tensorboard",)))


def test_a_missing_tokenizer_is_named_before_anything_starts(
    engine: MusubiEngine, job: MakeJob, facts: MakeFacts
) -> None:
    """The trainer would load the text encoder first and then say: expected str, not NoneType."""
    uncached = DatasetFacts(images=2, batches_per_epoch=2, text=CacheFacts(2, 2))
    told = ("The tokenizer is not in the hub cache. Run musabi bootstrap to fetch it.",)
    gone = {"cache-text": told, "sample": told}
    with pytest.raises(MachineError, match="tokenizer"):
        engine.refuse(job(), facts(dataset=uncached, missing=gone))
    with pytest.raises(MachineError, match="tokenizer"):
        engine.refuse(job(sample_every_n_epochs=1), facts(missing=gone))
    engine.refuse(job(), facts(missing=gone))


def test_a_folder_in_place_of_a_weight_file_is_refused(
    engine: MusubiEngine, job: MakeJob, facts: MakeFacts
) -> None:
    with pytest.raises(RequestError, match="TEXT_ENCODER_PATH"):
        weights = job().weights | {"text_encoder": Path("/workspace/models/text_encoder")}
        engine.refuse(job(weights=weights), facts())


def test_prompts_in_a_file_that_the_trainer_can_not_read_are_refused(
    engine: MusubiEngine, job: MakeJob, facts: MakeFacts
) -> None:
    prompts = job(sample_prompts=Path("/workspace/dataset/prompts.csv"), sample_every_n_epochs=2)
    with pytest.raises(RequestError, match="SAMPLE_PROMPTS"):
        engine.refuse(prompts, facts())


MERGED_IN_8_BITS: dict[str, dict[str, object]] = {
    "the adapter with flags that were passed on": {
        "model": "z-image-turbo",
        "extra_train_args": ("--fp8_base", "--fp8_scaled"),
    },
    "the adapter with the setting": {"model": "z-image-turbo", "dit_precision": "fp8"},
    "base weights with the setting": {"dit_precision": "fp8", "extra_train_args": ("--base_weights", "a")},
}


@pytest.mark.parametrize("case", MERGED_IN_8_BITS)
def test_what_is_merged_into_a_model_in_8_bits_is_refused(
    case: str, engine: MusubiEngine, job: MakeJob, facts: MakeFacts
) -> None:
    with pytest.raises(RequestError, match="round away"):
        engine.refuse(job(**MERGED_IN_8_BITS[case]), facts())


def test_base_weights_beside_an_adapter_are_refused(
    engine: MusubiEngine, job: MakeJob, facts: MakeFacts
) -> None:
    """argparse takes the last of two, so the adapter would be left out without a word."""
    wanted = job(model="z-image-turbo", extra_train_args=("--base_weights", "/workspace/a.safetensors"))
    with pytest.raises(RequestError, match="ADAPTER_PATH"):
        engine.refuse(wanted, facts())


@pytest.mark.parametrize(
    ("path", "mend"),
    [
        ("Z-Image-Turbo/diffusion_pytorch_model-00001-of-00003.safetensors", "MODEL=z-image-turbo"),
        ("dit/z_image_de_turbo_v1_bf16.safetensors", "MODEL=z-image-de-turbo"),
    ],
)
def test_turbo_without_its_adapter_is_refused(
    path: str, mend: str, engine: MusubiEngine, job: MakeJob, facts: MakeFacts
) -> None:
    weights = job().weights | {"dit": Path("/workspace/models") / path}
    with pytest.raises(RequestError, match=mend):
        engine.refuse(job(weights=weights), facts())
    right = mend.removeprefix("MODEL=")
    engine.refuse(job(model=right), facts())


def test_a_model_that_swaps_only_with_single_images_is_held_to_it(
    engine: MusubiEngine, job: MakeJob, facts: MakeFacts, timing: Schedule
) -> None:
    pairs = DatasetFacts(
        images=54, batches_per_epoch=27, buckets=(BucketFacts(2048, 2048, 54, 27, batch=2),),
        latents=CacheFacts(54), text=CacheFacts(54),
    )  # fmt: skip
    small = facts(memory=24 * 1024**3, dataset=pairs)
    argv = engine.train_step(job(model="hidream-o1-edit"), small, timing, None).argv
    assert "--blocks_to_swap" not in argv
    with pytest.raises(RequestError, match="batch_size = 1"):
        engine.refuse(job(model="hidream-o1-edit", blocks_to_swap=10), small)


def test_an_argument_that_excludes_swapped_blocks_is_heeded(
    engine: MusubiEngine, job: MakeJob, facts: MakeFacts, timing: Schedule
) -> None:
    small = facts(memory=24 * 1024**3)
    wanted = job(model="krea-2", extra_train_args=("--turbo_dit", "/workspace/turbo.safetensors"))
    assert "--blocks_to_swap" not in engine.train_step(wanted, small, timing, None).argv
