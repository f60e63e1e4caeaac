"""Planning: the very command lines, and what is refused. Nothing heavy is imported."""

import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from musabi.engines.diffusers.engine import ENVIRONMENT, DiffusersEngine
from musabi.errors import ExitCode, MachineError, RequestError
from musabi.job.events import Event
from musabi.job.facts import CacheFacts, DatasetFacts, Facts, MachineFacts, TrainerFacts
from musabi.job.model import Job
from musabi.job.plan import ResumePoint, Schedule, Step

SPACE = Path("/workspace")
PACKAGES = frozenset(
    {"torch", "diffusers", "transformers", "peft", "prodigyopt", "tensorboard", "bitsandbytes"}
)
SCHEDULE = Schedule(
    steps_per_epoch=27,
    epochs=93,
    steps=2511,
    warmup_steps=100,
    save_every=9,
    state_every=9,
    sample_every=None,
)
MakeJob = Callable[..., Job]
WEIGHTS = {
    "dit": SPACE / "models/dit/diffusion_pytorch_model-00001-of-00002.safetensors",
    "vae": SPACE / "models/vae/ae.safetensors",
    "text_encoder": SPACE / "models/text_encoder/model-00001-of-00003.safetensors",
}


@pytest.fixture
def make_job() -> MakeJob:
    def make(**values: object) -> Job:
        paths = {
            "engine": "diffusers",
            "output_dir": SPACE / "output",
            "logging_dir": SPACE / "logs",
            "dataset_config": SPACE / "dataset/dataset.toml",
            "sample_prompts": SPACE / "dataset/sample_prompts.txt",
            "weights": WEIGHTS,
        }
        return Job.model_validate({**paths, **values})

    return make


def facts(gpus: tuple[int, ...] = (), packages: frozenset[str] = PACKAGES) -> Facts:
    stale = CacheFacts(54, 1, (SPACE / "dataset/cache/a_zi.safetensors",), ((SPACE / "stamp", "{}"),))
    return Facts(
        machine=MachineFacts(gpus=gpus),
        dataset=DatasetFacts(images=54, batches_per_epoch=27, latents=stale, text=CacheFacts(54)),
        trainer=TrainerFacts(python=Path("/venv/bin/python"), packages=packages),
        environment={"HF_HOME": "/workspace/.cache/huggingface"},
    )


ENGINE = DiffusersEngine()

GOLDEN_PRODIGY = """\
/venv/bin/python -P -m musabi.engines.diffusers.train
--dit /workspace/models/dit/diffusion_pytorch_model-00001-of-00002.safetensors
--vae /workspace/models/vae/ae.safetensors
--text_encoder /workspace/models/text_encoder/model-00001-of-00003.safetensors
--dataset_config /workspace/dataset/dataset.toml
--network_dim 32 --network_alpha 16
--optimizer_type prodigyopt.Prodigy --learning_rate 1.0
--optimizer_args decouple=True weight_decay=0.01 betas=0.9,0.99 use_bias_correction=True
safeguard_warmup=True d_coef=1.0
--lr_scheduler constant
--max_train_epochs 93 --max_train_steps 2511
--save_every_n_epochs 9 --save_state_every_n_epochs 9
--output_dir /workspace/output --output_name character_lora_v1
--save_precision bf16 --seed 42
--logging_dir /workspace/logs --log_prefix character_lora_v1-
--discrete_flow_shift 2.0 --device cpu
"""


def test_the_training_command_with_prodigy_on_a_cpu(make_job: MakeJob) -> None:
    step = ENGINE.train_step(make_job(), facts(), SCHEDULE, None)
    assert list(step.argv) == shlex.split(GOLDEN_PRODIGY)
    assert step.env == {"HF_HOME": "/workspace/.cache/huggingface", **ENVIRONMENT}
    assert (step.total, step.staging, step.epoch_offset) == (2511, None, 0)


def test_the_training_command_with_adamw8bit_on_a_gpu_that_is_resumed_and_samples(make_job: MakeJob) -> None:
    job = make_job(
        optimizer="adamw8bit", learning_rate=2e-4, seed=7, extra_train_args=("--max_grad_norm", "0.5")
    )
    resume = ResumePoint(SPACE / "output/character_lora_v1-000018-state", 18, 486)
    step = ENGINE.train_step(job, facts((80 * 2**30,)), replace(SCHEDULE, sample_every=9), resume)
    said = " ".join(step.argv)
    for part in (
        "--optimizer_type AdamW8bit --learning_rate 0.0002 --lr_scheduler cosine_with_restarts --lr_warmup_steps 100",
        "--max_train_epochs 93 --max_train_steps 2511",
        "--sample_prompts /workspace/dataset/sample_prompts.txt --sample_every_n_epochs 9",
        "--device cuda --gradient_checkpointing --resume /workspace/output/character_lora_v1-000018-state",
    ):
        assert part in said
    assert step.argv[-2:] == ("--max_grad_norm", "0.5")


@pytest.mark.parametrize(("gpus", "packages"), [((), PACKAGES), ((2**36,), PACKAGES - {"bitsandbytes"})])
def test_adamw8bit_becomes_adamw_where_it_can_not_run_and_the_plan_says_so(
    make_job: MakeJob, gpus: tuple[int, ...], packages: frozenset[str]
) -> None:
    job, found = make_job(optimizer="adamw8bit"), facts(gpus, packages)
    argv = ENGINE.train_step(job, found, SCHEDULE, None).argv
    assert argv[argv.index("--optimizer_type") + 1] == "AdamW"
    (choice,) = [each for each in ENGINE.choices(job, found, SCHEDULE) if each.setting == "optimizer"]
    assert (choice.value, "AdamW8bit needs bitsandbytes and a GPU" in choice.why) == ("AdamW", True)


def test_the_caching_commands(make_job: MakeJob) -> None:
    job = make_job(
        caching={"text_batch_size": 8, "latent_device": "cuda:1", "run_text": False},
        extra_cache_args=("--keep_cache", "--num_workers", "3"),
    )
    latents, text = ENGINE.cache_steps(job, facts((2**36,)))
    assert shlex.join(latents.argv[4:]) == (
        "--dataset_config /workspace/dataset/dataset.toml --vae /workspace/models/vae/ae.safetensors "
        "--device cuda:1 --batch_size 1 --num_workers 1 --skip_existing --disable_cudnn_backend "
        "--keep_cache --num_workers 3"
    )
    assert (latents.skip, latents.discard, latents.stamp) == (
        None,
        (SPACE / "dataset/cache/a_zi.safetensors",),
        ((SPACE / "stamp", "{}"),),
    )
    assert "--batch_size 8" in shlex.join(text.argv)
    assert text.skip == "RUN_TEXT_ENCODER_CACHE is 0"


def test_a_fresh_cache_is_skipped_unless_existing_files_are_not_to_be_kept(make_job: MakeJob) -> None:
    fresh = replace(facts(), dataset=replace(facts().dataset, latents=CacheFacts(54), text=CacheFacts(54)))
    assert [step.skip for step in ENGINE.cache_steps(make_job(), fresh)] == [
        "all 54 files are up to date"
    ] * 2
    job = make_job(caching={"latent_skip_existing": False})
    latents, _ = ENGINE.cache_steps(job, fresh)
    assert latents.skip is None
    assert "--skip_existing" not in latents.argv


def test_the_sample_command(make_job: MakeJob) -> None:
    job = make_job(extra_sample_args=("--lora_multiplier", "0.8"))
    (sample,) = ENGINE.sample_steps(job, facts(), Path("/o/a.safetensors"), Path("/o/sample"))
    assert shlex.join(sample.argv).endswith(
        "--from_file /workspace/dataset/sample_prompts.txt --lora_weight /o/a.safetensors --lora_multiplier 1 "
        "--save_path /o/sample "
        "--output_name character_lora_v1 --device cpu --lora_multiplier 0.8"
    )
    assert "--lora_weight" not in ENGINE.sample_steps(make_job(), facts(), None, Path("/o"))[0].argv


REFUSED = {
    "BLOCKS_TO_SWAP was set, but the diffusers engine can't swap blocks": {"blocks_to_swap": 16},
    "The diffusers engine trains z-image only. For wan": {"model": "wan"},
    "knows no argument --fp8_base.*use the musubi engine": {"extra_train_args": ("--fp8_base",)},
    "knows no argument --flash_attn": {"extra_train_args": ("--flash_attn",)},
    "knows no argument --debug_mode": {"extra_cache_args": ("--debug_mode", "image")},
    "knows no argument --image_size": {"extra_sample_args": ("--image_size", "64", "64")},
    "--output_dir can't be passed on: .* Set OUTPUT_DIR": {"extra_train_args": ("--output_dir=/x",)},
    'begin with "1"': {"extra_train_args": ("1", "--seed")},
    "DIT_PATH is /workspace/models/dit, but": {"weights": WEIGHTS | {"dit": SPACE / "models/dit"}},
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_it_lacks_is_refused_with_the_engine_that_has_it(make_job: MakeJob, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        ENGINE.refuse(make_job(**REFUSED[message]), facts())


@pytest.mark.parametrize("package", ["torch", "diffusers", "peft", "prodigyopt", "tensorboard"])
def test_a_missing_package_is_a_machine_error_with_its_mend(make_job: MakeJob, package: str) -> None:
    with pytest.raises(MachineError, match=rf"needs {package}, .* Run scripts/setup\.sh diffusers"):
        ENGINE.refuse(make_job(), facts(packages=PACKAGES - {package}))


def test_an_ordinary_job_is_not_refused(make_job: MakeJob) -> None:
    ENGINE.refuse(make_job(extra_train_args=("--sigmoid_scale", "1.2"), blocks_to_swap=0), facts())
    ENGINE.refuse(make_job(optimizer="adamw"), facts(packages=PACKAGES - {"prodigyopt", "bitsandbytes"}))


def test_every_planned_command_is_understood_by_its_module(make_job: MakeJob) -> None:
    from musabi.engines.diffusers import cache_latents, cache_text, sample, train

    job, found = make_job(sample_every_n_epochs=9), facts((2**36,))
    resume = ResumePoint(SPACE / "s", 1, 27)
    steps = [
        *ENGINE.cache_steps(job, found),
        ENGINE.train_step(job, found, replace(SCHEDULE, sample_every=9), resume),
        *ENGINE.sample_steps(job, found, Path("/a"), Path("/b")),
    ]
    for step, module in zip(steps, (cache_latents, cache_text, train, sample), strict=True):
        assert step.argv[3] == module.__name__
        module.arguments().read(step.argv[4:])


def test_events_are_read_from_pieces_of_any_length() -> None:
    parser = ENGINE.parser(Step("train", "Train", ()))
    text = 'Loading\n{"phase": "train", "step": 3, "loss": 0.5}\n{"no": "event"}\n{"phase": "train", "ste'
    found = [event for letter in text for event in parser.feed(letter)]
    assert found == [Event(phase="train", step=3, loss=0.5)]
    assert parser.feed('p": 4}\n') == [Event(phase="train", step=4)]


def test_the_childs_own_words_explain_a_failure() -> None:
    step = Step("train", "Train the LoRA", ())
    tail = 'noise\n{"phase": "train", "kind": "error", "message": "The disk is full."}\nmore noise\n'
    assert ENGINE.explain(step, 3, tail).message == "The disk is full."
    assert ENGINE.explain(step, 3, tail).exit_code == ExitCode.MACHINE_CANNOT
    killed = ENGINE.explain(step, -9, '{"phase": "train", "step": 3}\n')
    assert (killed.exit_code, "memory ran out" in killed.message) == (ExitCode.MACHINE_CANNOT, True)
    unknown = ENGINE.explain(step, 1, "Fatal Python error: Segmentation fault\n")
    assert (
        unknown.message
        == "Train the LoRA: the process ended with 1. Its last words: Fatal Python error: Segmentation fault"
    )
    assert unknown.exit_code == ExitCode.TRAINER_FAILED


def test_planning_imports_nothing_heavy() -> None:
    code = (
        "import sys; import musabi.engines.diffusers.engine; "
        "heavy = ('torch', 'numpy', 'diffusers', 'transformers', 'peft', 'PIL'); "
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"
