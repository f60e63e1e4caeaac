"""The command lines, held against committed text."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from musabi.contract import committed
from musabi.engines.musubi.contract import Installed
from musabi.engines.musubi.engine import MusubiEngine
from musabi.errors import MachineError, RequestError
from musabi.job.facts import CacheFacts, DatasetFacts, Facts
from musabi.job.model import Caching, Job
from musabi.job.plan import ResumePoint, Schedule
from musabi.job.planner import plan_training
from small.plan_text import hold

STATE = Path("/workspace/output/character_lora_v1-000020-state")
RESUME = ResumePoint(STATE, epoch=20, step=540)
MakeJob = Callable[..., Job]
MakeFacts = Callable[..., Facts]


def test_prodigy_on_one_gpu(engine: MusubiEngine, job: MakeJob, facts: MakeFacts, timing: Schedule) -> None:
    hold("prodigy", engine.train_step(job(), facts(), timing, None))


def test_adamw8bit_resumed(engine: MusubiEngine, job: MakeJob, facts: MakeFacts, timing: Schedule) -> None:
    hold("adamw8bit-resumed", engine.train_step(job(optimizer="adamw8bit"), facts(), timing, RESUME))


def test_two_gpus_are_started_by_accelerate(
    engine: MusubiEngine, job: MakeJob, facts: MakeFacts, timing: Schedule
) -> None:
    config = Path("/workspace/.musabi/accelerate.yaml")
    two = facts(gpus=2, accelerate_config=config)
    hold("two-gpus", engine.train_step(job(optimizer="adamw8bit"), two, timing, RESUME))


def test_a_small_gpu_with_samples(engine: MusubiEngine, job: MakeJob, facts: MakeFacts) -> None:
    timing = Schedule(27, 93, 2511, 0, save_every=10, state_every=10, sample_every=5)
    small = facts(memory=16 * 1024**3)
    wanted = job(sample_every_n_epochs=5, blocks_to_swap=12)
    hold("small-gpu", engine.train_step(wanted, small, timing, None))


def test_caching(engine: MusubiEngine, job: MakeJob, facts: MakeFacts) -> None:
    stale = Path("/workspace/dataset/cache/a_1024x1024_zi.safetensors")
    stamp = (Path("/workspace/dataset/cache/.musabi-latents.json"), "{}\n")
    dataset = DatasetFacts(
        images=54,
        batches_per_epoch=27,
        latents=CacheFacts(54, 3, (stale,), (stamp,)),
        text=CacheFacts(54, 54),
    )
    hold("caching", *engine.cache_steps(job(), facts(dataset=dataset)))


def test_converting_and_sampling(engine: MusubiEngine, job: MakeJob, facts: MakeFacts) -> None:
    lora = Path("/workspace/output/character_lora_v1.safetensors")
    convert = engine.convert_step(job(), lora, lora.parent / "comfyui" / lora.name)
    hold("convert-and-sample", convert, *engine.sample_steps(job(), facts(), lora, lora.parent / "sample"))


def test_mixed_precision_goes_to_the_script_itself(
    engine: MusubiEngine, job: MakeJob, facts: MakeFacts, timing: Schedule
) -> None:
    argv = engine.train_step(job(), facts(gpus=2), timing, None).argv
    script = next(i for i, part in enumerate(argv) if part.endswith("zimage_train_network.py"))
    assert argv[argv.index("--mixed_precision", script) + 1] == "bf16"


@pytest.mark.parametrize("optimizer", ["prodigy", "adamw8bit", "adamw"])
def test_nothing_without_a_working_default_is_left_out(
    optimizer: str, engine: MusubiEngine, job: MakeJob, facts: MakeFacts, timing: Schedule
) -> None:
    argv = engine.train_step(job(optimizer=optimizer), facts(), timing, None).argv
    for flag in ("--optimizer_type", "--output_dir", "--output_name", "--network_module", "--network_alpha"):
        assert argv[argv.index(flag) + 1]
    assert {"--sdpa", "--dit", "--dataset_config", "--seed", "--save_precision"} <= set(argv)


def test_adamw_takes_the_place_of_adamw8bit_where_bitsandbytes_is_missing(
    engine: MusubiEngine, job: MakeJob, facts: MakeFacts, timing: Schedule
) -> None:
    wanted, bare = job(optimizer="adamw8bit"), facts(packages=("tensorboard",))
    argv = engine.train_step(wanted, bare, timing, None).argv
    assert argv[argv.index("--optimizer_type") + 1] == "AdamW"
    assert engine.warnings(wanted, bare) == (
        "bitsandbytes can't load in the trainer's environment, so AdamW takes AdamW8bit's place.",
    )


def test_flash_attention_is_used_only_where_it_was_proven(
    engine: MusubiEngine, job: MakeJob, facts: MakeFacts, timing: Schedule
) -> None:
    packages = ("prodigyopt", "tensorboard", "flash_attn")
    assert "--flash_attn" in engine.train_step(job(), facts(packages=packages), timing, None).argv
    assert "--flash_attn" not in engine.train_step(job(), facts(), timing, None).argv


def test_an_attention_that_was_asked_for_stands_alone(
    engine: MusubiEngine, job: MakeJob, facts: MakeFacts, timing: Schedule
) -> None:
    wanted = job(extra_train_args=("--xformers", "--split_attn"))
    argv = engine.train_step(wanted, facts(), timing, None).argv
    assert "--sdpa" not in argv
    assert argv[-2:] == ("--xformers", "--split_attn")


def test_base_weights_keep_the_model_out_of_8_bits(
    engine: MusubiEngine, job: MakeJob, facts: MakeFacts, timing: Schedule
) -> None:
    small = facts(memory=16 * 1024**3)
    assert "--fp8_scaled" in engine.train_step(job(), small, timing, None).argv
    with_base = job(extra_train_args=("--base_weights", "/workspace/adapter.safetensors"))
    assert "--fp8_scaled" not in engine.train_step(with_base, small, timing, None).argv


def test_no_workers_means_no_persistent_workers(
    engine: MusubiEngine, job: MakeJob, facts: MakeFacts, timing: Schedule
) -> None:
    wanted = job(extra_train_args=("--max_data_loader_n_workers", "0"))
    argv = engine.train_step(wanted, facts(), timing, None).argv
    assert "--persistent_data_loader_workers" not in argv
    assert argv.count("--max_data_loader_n_workers") == 1


def test_the_trainers_interval_hits_checkpoints_states_and_the_resumed_epoch(
    engine: MusubiEngine, job: MakeJob, facts: MakeFacts
) -> None:
    timing = Schedule(27, 93, 2511, 0, save_every=10, state_every=4, sample_every=None)
    step = engine.train_step(job(), facts(), timing, None)
    assert step.argv[step.argv.index("--save_every_n_epochs") + 1] == "2"
    assert (step.checkpoint_every, step.state_every) == (10, 4)
    resumed = engine.train_step(job(), facts(), timing, ResumePoint(STATE, 15, 405))
    assert resumed.argv[resumed.argv.index("--save_every_n_epochs") + 1] == "1"


def test_a_number_of_steps_is_kept_on_resume(engine: MusubiEngine, job: MakeJob, facts: MakeFacts) -> None:
    timing = Schedule(27, 38, 1000, 0, save_every=4, state_every=4, sample_every=None)
    argv = engine.train_step(job(max_train_steps=1000), facts(), timing, RESUME).argv
    assert argv[argv.index("--max_train_steps") + 1] == "460"
    assert "--max_train_epochs" not in argv


def test_the_trainer_writes_into_a_hidden_folder(
    engine: MusubiEngine, job: MakeJob, facts: MakeFacts, timing: Schedule
) -> None:
    step = engine.train_step(job(), facts(), timing, None)
    assert step.staging == Path("/workspace/output/.character_lora_v1.writing")
    assert step.argv[step.argv.index("--output_dir") + 1] == str(step.staging)


def test_hf_transfer_reaches_the_trainer_only_where_it_imports(
    engine: MusubiEngine, job: MakeJob, facts: MakeFacts, timing: Schedule
) -> None:
    without = engine.train_step(job(), facts(), timing, None)
    assert without.env["HF_HUB_ENABLE_HF_TRANSFER"] == "0"
    packages = ("prodigyopt", "tensorboard", "hf_transfer")
    step = engine.train_step(job(), facts(packages=packages), timing, None)
    assert step.env["HF_HUB_ENABLE_HF_TRANSFER"] == "1"
    unwished = replace(facts(packages=packages), environment={"HF_HUB_ENABLE_HF_TRANSFER": "0"})
    assert engine.train_step(job(), unwished, timing, None).env["HF_HUB_ENABLE_HF_TRANSFER"] == "0"


def test_existing_caches_that_are_not_to_be_kept_are_made_anew(
    engine: MusubiEngine, job: MakeJob, facts: MakeFacts
) -> None:
    caching = Caching(latent_skip_existing=False)
    latents, text = engine.cache_steps(job(caching=caching), facts())
    assert latents.skip is None
    assert "--skip_existing" not in latents.argv
    assert text.skip == "all 54 files are up to date"


def test_each_caching_script_gets_the_extra_arguments_it_knows(
    engine: MusubiEngine, job: MakeJob, facts: MakeFacts
) -> None:
    wanted = job(
        extra_cache_args=("--fp8_llm", "--disable_cudnn_backend", "--num_workers", "3"),
        caching=Caching(fp8_text_encoder=False, disable_cudnn_backend=False),
    )
    latents, text = engine.cache_steps(wanted, facts())
    assert latents.argv[-3:] == ("--disable_cudnn_backend", "--num_workers", "3")
    assert text.argv[-3:] == ("--fp8_llm", "--num_workers", "3")


def test_a_lora_is_never_sampled_without_a_multiplier(
    engine: MusubiEngine, job: MakeJob, facts: MakeFacts
) -> None:
    lora = Path("/workspace/output/a.safetensors")
    argv = engine.sample_steps(job(), facts(), lora, Path("/workspace/output/sample"))[0].argv
    assert argv[argv.index("--lora_weight") :][:4] == ("--lora_weight", str(lora), "--lora_multiplier", "1.0")
    plain = engine.sample_steps(job(), facts(), None, Path("/workspace/output/sample"))[0].argv
    assert "--lora_multiplier" not in plain


def test_sampling_without_a_gpu_names_the_engine_that_can(
    engine: MusubiEngine, job: MakeJob, facts: MakeFacts
) -> None:
    with pytest.raises(MachineError, match="ENGINE=diffusers"):
        engine.sample_steps(job(), facts(gpus=0), None, Path("/workspace/output/sample"))


def test_a_lora_with_comfyui_keys_is_not_sampled(
    engine: MusubiEngine, job: MakeJob, facts: MakeFacts
) -> None:
    lora = Path("/workspace/output/comfyui/a.safetensors")
    with pytest.raises(RequestError, match=r"/workspace/output/a\.safetensors"):
        engine.sample_steps(job(), facts(), lora, Path("/workspace/output/sample"))


def test_a_version_that_lacks_an_argument_is_named(
    engine: MusubiEngine, job: MakeJob, facts: MakeFacts, timing: Schedule
) -> None:
    now = committed()
    script = now.scripts["zimage_train_network.py"]
    fewer = {flag: option for flag, option in script.options.items() if flag != "--save_precision"}
    scripts = {**now.scripts, script.file: replace(script, options=fewer)}
    old = facts(contract=Installed(replace(now, scripts=scripts)))
    with pytest.raises(MachineError, match=r"zimage_train_network\.py knows no argument --save_precision"):
        engine.train_step(job(), old, timing, None)


@pytest.mark.parametrize(
    ("passed_on", "words"),
    [
        (("--network_drop", "0.1"), "--network_dropout"),
        (("--discrete_flow_shift", "much"), "number"),
        (("--timestep_sampling", "shft"), "shift"),
    ],
)
def test_an_argument_that_the_installed_version_would_refuse_is_named_with_the_nearest(
    passed_on: tuple[str, ...],
    words: str,
    engine: MusubiEngine,
    job: MakeJob,
    facts: MakeFacts,
    timing: Schedule,
) -> None:
    with pytest.raises(RequestError, match=words):
        engine.train_step(job(extra_train_args=passed_on), facts(), timing, None)


def test_every_choice_has_a_reason(
    engine: MusubiEngine, job: MakeJob, facts: MakeFacts, timing: Schedule
) -> None:
    made = engine.choices(job(), facts(), timing)
    assert {"optimizer", "attention", "model precision", "start", "mixed precision"} <= {
        c.setting for c in made
    }
    assert all(choice.why for choice in made)


def test_batches_that_are_added_up_make_fewer_steps(
    engine: MusubiEngine, job: MakeJob, facts: MakeFacts
) -> None:
    asked = job(max_train_epochs=10, extra_train_args=("--gradient_accumulation_steps", "4"))
    plan = plan_training(asked, facts(), engine)
    assert plan.schedule is not None
    assert (plan.schedule.steps_per_epoch, plan.schedule.steps) == (7, 70)  # 27 batches an epoch
    assert "--gradient_accumulation_steps" in plan.steps[-1].argv
