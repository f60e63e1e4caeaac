"""Every recipe's command lines: held against committed text, and against what musubi-tuner v0.3.4 accepts."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from musabi.engines.musubi.engine import MusubiEngine
from musabi.errors import RequestError
from musabi.job.facts import BucketFacts, CacheFacts, DatasetFacts, Facts
from musabi.job.model import Job
from musabi.job.plan import Schedule, Step
from musabi.job.prompt import Prompt
from musabi.recipes import load, names
from small.plan_text import hold

OUTPUT = Path("/workspace/output")
PROMPTS = (
    Prompt("a cat"),
    Prompt("a dog", width=512, height=512, seed=7, given=frozenset({"width", "height", "seed"})),
)


def every_step(name: str, engine: MusubiEngine, job: Job, facts: Facts, timing: Schedule) -> tuple[Step, ...]:
    """Return all that a run of this model starts."""
    lora = OUTPUT / f"{job.output_name}.safetensors"
    return (
        *engine.cache_steps(job, facts),
        *engine.adapter_steps(job, facts),
        engine.train_step(job, facts, replace(timing, sample_every=10), None),
        engine.convert_step(job, lora, lora.parent / "comfyui" / lora.name),
        *engine.sample_steps(job, facts, lora, OUTPUT / "sample"),
    )


@pytest.fixture
def uncached() -> DatasetFacts:
    """54 pictures, or clips of 25 frames, that were not cached yet."""
    return DatasetFacts(
        images=54,
        batches_per_epoch=54,
        buckets=(BucketFacts(1024, 1024, 54, 54),),
        latents=CacheFacts(54, 54),
        text=CacheFacts(54, 54),
    )


@pytest.mark.parametrize("name", names())
def test_the_command_lines_of_every_model(
    name: str,
    engine: MusubiEngine,
    job: Callable[..., Job],
    facts: Callable[..., Facts],
    timing: Schedule,
    uncached: DatasetFacts,
) -> None:
    """Each is also held against the contract with v0.3.4: the engine refuses what a script would not take."""
    wanted = job(model=name, sample_every_n_epochs=10)
    here = replace(facts(dataset=uncached), prompts=PROMPTS)
    engine.refuse(wanted, here)
    hold(f"models/{name}", *every_step(name, engine, wanted, here, timing))


LATENTS = (Path("/kept/20260101-120000-000_42_latent.safetensors"), Path("/kept/b_latent.safetensors"))


@pytest.mark.parametrize("name", names())
def test_kept_latents_are_decoded_by_every_script_that_can(
    name: str, engine: MusubiEngine, job: Callable[..., Job], facts: Callable[..., Facts]
) -> None:
    """Each command line is held against the contract with v0.3.4 by the engine; a file a step."""
    recipe = load(name)
    folder = OUTPUT / "sample"
    if "latents" not in recipe.scripts.sample.flags:
        with pytest.raises(RequestError, match="can't decode latents"):
            engine.decode_steps(job(model=name), facts(), LATENTS, folder)
        return
    steps = engine.decode_steps(job(model=name), facts(), LATENTS, folder)
    assert len({step.pictures for step in steps}) == 2
    for file, step in zip(LATENTS, steps, strict=True):
        argv = step.argv
        assert argv[argv.index("--latent_path") + 1] == str(file)
        assert argv[argv.index("--output_type") + 1] == ("images" if recipe.makes == "image" else "video")
        assert argv.count("--output_type") == 1 and "--vae" in argv and "--from_file" not in argv
        assert step.pictures is not None and step.pictures[2] == file.stem


@pytest.mark.parametrize("name", names())
def test_every_script_that_decodes_latents_also_keeps_them(
    name: str, engine: MusubiEngine, job: Callable[..., Job], facts: Callable[..., Facts]
) -> None:
    """Said last, "latent" is what counts, whatever the recipe says before it."""
    flags = load(name).scripts.sample.flags
    assert ("latents" in flags) == ("output_type" in flags)
    if "latents" not in flags:
        return
    wanted = job(model=name, extra_sample_args=("--output_type", "latent"))
    for step in engine.sample_steps(wanted, replace(facts(), prompts=PROMPTS), None, OUTPUT / "sample"):
        assert step.argv[-2:] == ("--output_type", "latent")


def test_the_command_lines_that_decode(
    engine: MusubiEngine, job: Callable[..., Job], facts: Callable[..., Facts]
) -> None:
    steps = [
        step
        for name in ("z-image", "hunyuan-video", "wan2.2-t2v-a14b-both")
        for step in engine.decode_steps(job(model=name), facts(), LATENTS[:1], OUTPUT / "sample")
    ]
    hold("decode-latents", *steps)


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize("memory", [12, 16, 24, 48])
def test_every_model_has_a_plan_for_a_small_gpu(
    name: str,
    memory: int,
    engine: MusubiEngine,
    job: Callable[..., Job],
    facts: Callable[..., Facts],
    timing: Schedule,
    uncached: DatasetFacts,
) -> None:
    """On whatever rung of the ladder: no argument that the scripts would refuse."""
    small = facts(memory=memory * 1024**3, dataset=uncached)
    wanted = job(model=name)
    engine.refuse(wanted, small)
    argv = engine.train_step(wanted, small, timing, None).argv
    recipe = load(name)
    if "--blocks_to_swap" in argv:
        assert int(argv[argv.index("--blocks_to_swap") + 1]) <= recipe.limits.max_blocks_to_swap
    assert ("--fp8_base" in argv) <= (recipe.limits.fp8 in ("scaled", "base"))


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize("kind", ["loha", "lokr"])
def test_other_networks_are_planned_where_the_trainer_has_them(
    name: str,
    kind: str,
    engine: MusubiEngine,
    job: Callable[..., Job],
    facts: Callable[..., Facts],
    timing: Schedule,
) -> None:
    module = getattr(load(name).network, kind)
    wanted = job(model=name, network_module=kind)
    if module is None or (kind == "lokr" and load(name).conversion.fused):
        with pytest.raises(Exception, match="NETWORK_MODULE"):
            engine.refuse(wanted, facts())
        return
    argv = engine.train_step(wanted, facts(), timing, None).argv
    assert argv[argv.index("--network_module") + 1] == module
