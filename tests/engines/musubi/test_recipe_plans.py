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


FILES = Path("/workspace/dataset")
NEEDED: dict[str, tuple[str, object]] = {
    "i": ("image", str(FILES / "first.png")),
    "ei": ("end_image", str(FILES / "last.png")),
    "ci": ("controls", (str(FILES / "control.png"),)),
    "cn": ("control_video", str(FILES / "control.mp4")),
    "of": ("one_frame", "target_index=3,control_index=0"),
}


def prompts(name: str) -> tuple[Prompt, ...]:
    """Return the prompts with what each line must say of this model."""
    values = dict(NEEDED[flag] for flag in load(name).sampling.prompt_needs)
    return tuple(replace(one, **values, given=one.given | values.keys()) for one in PROMPTS)  # type: ignore[arg-type]


def rendered(engine: MusubiEngine, job: Job, facts: Facts) -> list[tuple[str, ...]]:
    """Return the command lines of the sampler."""
    return [step.argv for step in engine.sample_steps(job, facts, None, OUTPUT / "sample")]


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
    here = replace(facts(dataset=uncached), prompts=prompts(name))
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
    for step in engine.sample_steps(wanted, replace(facts(), prompts=prompts(name)), None, OUTPUT / "sample"):
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


def test_the_sampler_swaps_the_blocks_that_were_chosen(
    engine: MusubiEngine, job: Callable[..., Job], facts: Callable[..., Facts], timing: Schedule
) -> None:
    """With nothing asked for, on a GPU that the model does not fit otherwise."""
    small = replace(facts(memory=24 * 1024**3), prompts=PROMPTS)
    for name in ("qwen-image", "wan2.1-t2v-14b", "flux2-dev"):
        wanted = job(model=name)
        trained = engine.train_step(wanted, small, timing, None).argv
        chosen = trained[trained.index("--blocks_to_swap") + 1]
        (argv,) = rendered(engine, wanted, small)
        assert argv[argv.index("--blocks_to_swap") + 1] == chosen
    large = replace(facts(), prompts=PROMPTS)
    assert "--blocks_to_swap" not in rendered(engine, job(model="qwen-image"), large)[0]


@pytest.mark.parametrize(
    ("name", "said", "flag", "value"),
    [
        ("kandinsky-5-pro-t2v", {"embedded_guidance": 3.0}, "--guidance", "3"),
        ("kandinsky-5-pro-t2v", {}, "--guidance", "5"),
        ("hidream-o1", {"embedded_guidance": 3.0}, "--guidance_scale", "3"),
        ("hidream-o1", {"embedded_guidance": 3.0, "guidance_scale": 2.0}, "--guidance_scale", "2"),
        ("framepack", {"embedded_guidance": 3.0}, "--guidance_scale", "1"),
        ("framepack", {"embedded_guidance": 3.0}, "--embedded_cfg_scale", "3"),
        ("framepack", {"embedded_guidance": 0.0}, "--embedded_cfg_scale", "0"),
    ],
)
def test_the_guidance_of_a_prompt_line_is_used(
    name: str,
    said: dict[str, float],
    flag: str,
    value: str,
    engine: MusubiEngine,
    job: Callable[..., Job],
    facts: Callable[..., Facts],
) -> None:
    prompt = Prompt("a cat", **said, given=frozenset(said))  # type: ignore[arg-type]
    (argv,) = rendered(engine, job(model=name), replace(facts(), prompts=(prompt,)))
    assert argv[argv.index(flag) + 1] == value and argv.count(flag) == 1


def test_single_frames_are_rendered_with_the_indices_of_the_line_else_of_the_recipe(
    engine: MusubiEngine, job: Callable[..., Job], facts: Callable[..., Facts]
) -> None:
    for name in ("framepack-one-frame", "wan2.1-flf2v-14b"):
        two = replace(facts(), prompts=(Prompt("a cat"), Prompt("a dog", one_frame="target_index=3")))
        lines = rendered(engine, job(model=name), two)
        said = [argv[argv.index("--one_frame_inference") + 1] for argv in lines]
        assert said == [load(name).sampling.one_frame, "target_index=3"]
    # A file of prompts says it line by line; what is said beside it holds for the others, and for latents.
    name = "wan2.1-one-frame"
    (argv,) = rendered(engine, job(model=name), facts())
    decoded = engine.decode_steps(job(model=name), facts(), LATENTS, OUTPUT)[0].argv
    for line in (argv, decoded):
        assert line[line.index("--one_frame_inference") + 1] == load(name).sampling.one_frame
