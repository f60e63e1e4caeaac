"""The sampling command line: pure."""

from pathlib import Path

from musabi.engines.musubi.training import GIB
from musabi.errors import MachineError, RequestError
from musabi.job.facts import Facts
from musabi.job.model import Job
from musabi.recipes import Recipe


def sample_arguments(
    job: Job, facts: Facts, recipe: Recipe, lora: Path | None, folder: Path
) -> tuple[str, ...]:
    """Return the arguments of the script that renders the prompt file into `folder`.

    Sizes, steps and guidance are the recipe's where a prompt line names none.

    Raises:
        MachineError: there is no GPU, or no tokenizer in the hub cache.
        RequestError: the prompt file or the LoRA has a form that the script can't read.
    """
    if not facts.machine.gpus:
        raise MachineError(
            "musubi-tuner's sampler needs a GPU, and there is none here. "
            "On the CPU the diffusers engine samples: set ENGINE=diffusers."
        )
    if facts.trainer.missing:
        raise MachineError(" ".join(facts.trainer.missing))
    if job.sample_prompts.suffix != ".txt":
        raise RequestError(
            f"SAMPLE_PROMPTS is {job.sample_prompts}, but the sampler reads a .txt file with a prompt a line."
        )
    sampling = recipe.sampling
    return (
        *("--dit", str(job.dit), "--vae", str(job.vae), "--text_encoder", str(job.text_encoder)),
        *_lora(lora),
        *("--from_file", str(job.sample_prompts), "--save_path", str(folder)),
        *("--image_size", str(sampling.height), str(sampling.width), "--infer_steps", str(sampling.steps)),
        *("--guidance_scale", f"{sampling.guidance:g}", "--flow_shift", f"{sampling.flow_shift:g}"),
        *("--negative_prompt", "", "--seed", str(job.seed)),
        *("--attn_mode", "flash" if "flash_attn" in facts.trainer.packages else "torch"),
        *_memory(job, facts, recipe),
        *job.extra_sample_args,
    )


def _lora(lora: Path | None) -> tuple[str, ...]:
    """The multiplier is always given: its default is no list, and the script asks for its length."""
    if lora is None:
        return ()
    if lora.parent.name == "comfyui":
        raise RequestError(
            f"{lora} has ComfyUI's keys, and the sampler would leave the LoRA out without a word. "
            f"Name the file as it was trained: {lora.parent.parent / lora.name}."
        )
    return ("--lora_weight", str(lora), "--lora_multiplier", "1.0")


def _memory(job: Job, facts: Facts, recipe: Recipe) -> tuple[str, ...]:
    small = min(facts.machine.gpus) < recipe.limits.fp8_below_gib * GIB
    eight_bits = ("--fp8", "--fp8_scaled") if small else ()
    swap = ("--blocks_to_swap", str(job.blocks_to_swap)) if job.blocks_to_swap else ()
    return eight_bits + swap
