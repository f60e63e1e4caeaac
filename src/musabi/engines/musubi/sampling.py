"""The generate scripts' command lines: pure. What is said is the recipe's table of their arguments."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from musabi.engines.musubi.fit import attention, fit, text_encoder_in_8_bits
from musabi.engines.musubi.scripts import base_environment, script
from musabi.engines.musubi.training import always, weight_arguments
from musabi.errors import MachineError, RequestError
from musabi.job.facts import Facts
from musabi.job.model import Job
from musabi.job.plan import Step
from musabi.job.prompt import Prompt
from musabi.recipes import Recipe
from musabi.recipes.recipe import Meaning

Said = Mapping[Meaning, tuple[str, ...] | None]


def sample_steps(
    job: Job, facts: Facts, recipe: Recipe, lora: Path | None, folder: Path, strength: float
) -> tuple[Step, ...]:
    """Return the steps that render the prompt file into `folder`: one, or one a prompt where the script takes
    no file.

    Sizes, steps and guidance are the recipe's where a prompt line names none.

    Raises:
        MachineError: there is no GPU, or no tokenizer in the hub cache.
        RequestError: the prompt file or the LoRA has a form that the script can't read.
    """
    _require(job, facts)
    if lora is not None:
        _require_native(lora, recipe)
    common = _common(job, facts, recipe, lora, strength)
    if "prompts" in recipe.scripts.sample.flags:
        written = folder / f".{job.output_name}.sampling"
        said = common | _prompts(job, recipe) | {"folder": (str(written),)}
        return (_step(job, facts, recipe, said, "Render the sample prompts", (written, folder), 0),)
    return tuple(
        _step(
            job,
            facts,
            recipe,
            common
            | _one_prompt(
                prompt, job, recipe, written := folder / f".{job.output_name}.sampling-{number:02d}"
            ),
            f"Render sample prompt {number + 1} of {len(facts.prompts)}",
            (written, folder),
            number,
        )
        for number, prompt in enumerate(facts.prompts)
    )


def decode_steps(
    job: Job, facts: Facts, recipe: Recipe, latents: Sequence[Path], folder: Path
) -> tuple[Step, ...]:
    """Return the steps that decode kept latents into `folder`, one a file: some scripts take no more, the others
    name all results after the first.

    Of the weights only the VAE is loaded; the scripts ask for the others all the same.

    Raises:
        MachineError: there is no GPU.
        RequestError: this model's script decodes no latents.
    """
    own = recipe.scripts.sample
    if "latents" not in own.flags:
        raise RequestError(
            f"musubi-tuner's sampler for {recipe.title} can't decode latents. Render the pictures themselves: "
            "musabi sample."
        )
    _require_gpu(facts)
    told = any(argument.flag == own.flags.get("output_type") for argument in own.always)
    kind = None if told else ("images" if recipe.makes == "image" else "video",)
    steps = []
    for number, file in enumerate(latents):
        written = folder / f".{job.output_name}.decoding-{number:02d}"
        said: Said = {
            "latents": (str(file),),
            "output_type": kind,
            "folder": (str(written),),
            "fps": (str(recipe.sampling.fps),) if recipe.sampling.fps else None,
            "prompt": ("",) if "prompts" not in own.flags else None,  # some scripts can't do without
            "one_frame": _text(recipe.sampling.one_frame),
        }
        argv = (*_script(job, facts, recipe), *_arguments(recipe, said), *job.extra_sample_args)
        steps.append(_made(facts, argv, f"Decode {file.name}", (written, folder, file.stem)))
    return tuple(steps)


def _step(
    job: Job, facts: Facts, recipe: Recipe, said: Said, title: str, folders: tuple[Path, Path], first: int
) -> Step:
    own = recipe.scripts.sample
    small = text_encoder_in_8_bits(job.caching.fp8_text_encoder, facts.machine.gpus, recipe)
    argv = (
        *_script(job, facts, recipe),
        *_arguments(recipe, said),
        *(own.fp8 if fit(job, facts, recipe).rung.fp8 else ()),
        *((own.fp8_text_encoder,) if own.fp8_text_encoder and small else ()),
        *job.extra_sample_args,
    )
    return _made(facts, argv, title, (*folders, job.output_name), first)


def _made(
    facts: Facts, argv: tuple[str, ...], title: str, pictures: tuple[Path, Path, str], first: int = 0
) -> Step:
    return Step(
        name="sample",
        title=title,
        argv=argv,
        env=base_environment(facts),
        cwd=facts.trainer.root,
        pictures=pictures,
        first_picture=first,
    )


def _script(job: Job, facts: Facts, recipe: Recipe) -> tuple[str, ...]:
    """Return the beginning of every command line: interpreter, script, weights, what is always said."""
    own = recipe.scripts.sample
    start = (str(facts.trainer.python), script("sample", facts, recipe))
    return (*start, *weight_arguments(own.weights, job), *always(own))


def _arguments(recipe: Recipe, said: Said) -> tuple[str, ...]:
    return tuple(part for meaning, values in said.items() for part in _argument(recipe, meaning, values))


def _common(
    job: Job, facts: Facts, recipe: Recipe, lora: Path | None, strength: float
) -> dict[Meaning, tuple[str, ...] | None]:
    """Return what is said whatever the prompt: the LoRA, attention, swapped blocks."""
    # The multiplier is always given: its default is no list, and some scripts ask for its length.
    both = "lora_high" in recipe.scripts.sample.flags and "dit_high_noise" in job.weights
    files = (str(lora),) if lora else None
    factor = (f"{strength:.3g}" if strength % 1 else f"{strength:.1f}",) if lora else None
    kind = recipe.scripts.sample.attention.get(attention(job, facts, recipe) or "sdpa")
    # What training takes is enough here: a sampler keeps no gradients and no optimizer.
    swap = fit(job, facts, recipe).rung.swap
    return {
        "lora": files,
        "multiplier": factor,
        "lora_high": files if both else None,
        "multiplier_high": factor if both else None,
        "attention": (kind,) if kind else None,
        "swap": (str(swap),) if swap else None,
        "fps": (str(recipe.sampling.fps),) if recipe.sampling.fps else None,
    }


def _prompts(job: Job, recipe: Recipe) -> dict[Meaning, tuple[str, ...] | None]:
    """Return what is said of a file of prompts: the file, and what holds where a line says nothing."""
    sampling = recipe.sampling
    return {
        "prompts": (str(job.sample_prompts),),
        "size": (str(sampling.height), str(sampling.width)),
        "width": (str(sampling.width),),
        "height": (str(sampling.height),),
        "frames": (str(sampling.frames),) if sampling.frames > 1 else None,
        "steps": (str(sampling.steps),),
        "guidance": _number(sampling.guidance),
        "embedded_guidance": _number(sampling.embedded_guidance),
        "flow_shift": _number(sampling.flow_shift),
        "negative": ("",),
        "seed": (str(job.seed),),
        "one_frame": _text(sampling.one_frame),
    }


def _one_prompt(
    prompt: Prompt, job: Job, recipe: Recipe, written: Path
) -> dict[Meaning, tuple[str, ...] | None]:
    """Return what is said of one prompt: its own values, else the recipe's."""
    sampling, given = recipe.sampling, prompt.given
    width = prompt.width if "width" in given else sampling.width
    height = prompt.height if "height" in given else sampling.height
    frames = prompt.frames if "frames" in given else sampling.frames
    embedded = prompt.embedded_guidance if "embedded_guidance" in given else sampling.embedded_guidance
    ending = "_000.png" if recipe.makes == "image" else ".mp4"
    seed = prompt.seed if prompt.seed is not None else job.seed
    return {
        "prompt": (prompt.text,),
        "folder": (str(written),),
        "file": (str(written / f"00000000_{seed}{ending}"),),
        "size": (str(height), str(width)),
        "width": (str(width),),
        "height": (str(height),),
        "frames": (str(frames),) if frames > 1 else None,
        "steps": (str(prompt.steps if "steps" in given else sampling.steps),),
        "guidance": _number(_guidance(prompt, recipe)),
        "embedded_guidance": _number(embedded),
        "flow_shift": _number(prompt.flow_shift if "flow_shift" in given else sampling.flow_shift),
        "negative": (prompt.negative,),
        "seed": (str(seed),),
        "seconds": (f"{frames / recipe.sampling.fps:g}",) if recipe.sampling.fps else None,
        "image": (prompt.image,) if prompt.image else None,
        "end_image": (prompt.end_image,) if prompt.end_image else None,
        "control": prompt.controls or ((prompt.control_video,) if prompt.control_video else None),
        "one_frame": _text(prompt.one_frame or sampling.one_frame),
    }


def _guidance(prompt: Prompt, recipe: Recipe) -> float | None:
    """Return the guidance scale: --l, else --g where the sampler has no other use for it, else the recipe's."""
    if "guidance_scale" in prompt.given:
        return prompt.guidance_scale
    if "embedded_guidance" in prompt.given and "embedded_guidance" not in recipe.scripts.sample.flags:
        return prompt.embedded_guidance
    return recipe.sampling.guidance


def _argument(recipe: Recipe, meaning: Meaning, values: tuple[str, ...] | None) -> tuple[str, ...]:
    flag = recipe.scripts.sample.flags.get(meaning)
    return () if flag is None or values is None else (*((flag,) if flag else ()), *values)


def _text(value: str | None) -> tuple[str, ...] | None:
    return None if value is None else (value,)


def _number(value: float | None) -> tuple[str, ...] | None:
    return None if value is None else (f"{value:g}",)


def _require(job: Job, facts: Facts) -> None:
    _require_gpu(facts)
    missing = facts.trainer.missing.get("sample")
    if missing:
        raise MachineError(" ".join(missing))
    if job.sample_prompts.suffix != ".txt":
        raise RequestError(
            f"SAMPLE_PROMPTS is {job.sample_prompts}, but the sampler reads a .txt file with a prompt a line."
        )


def _require_gpu(facts: Facts) -> None:
    if not facts.machine.gpus:
        raise MachineError(
            "musubi-tuner's sampler needs a GPU, and there is none here. "
            "On the CPU the diffusers engine samples: set ENGINE=diffusers."
        )


def _require_native(lora: Path, recipe: Recipe) -> None:
    if lora.parent.name == "comfyui" and recipe.conversion.to == "dotted":
        raise RequestError(
            f"{lora} has ComfyUI's keys, and the sampler would leave the LoRA out without a word. "
            f"Name the file as it was trained: {lora.parent.parent / lora.name}."
        )
