"""Whether latents and captions are cached at the same time: where both models fit the machine. Pure."""

from musabi.engines.musubi.fit import ROOM, TEXT_ENCODER_EXTRA_GIB, text_encoder_in_8_bits
from musabi.engines.musubi.needs import GIB, PROCESSES_GIB
from musabi.job.facts import Facts
from musabi.job.model import Job
from musabi.recipes import Recipe
from musabi.recipes.recipe import Script

VAE_GIB = 6.0
"""What encoding a megapixel of one frame takes besides the VAE's weights: a margin, not measured."""
FRAMES_AT_ONCE = 5
"""Frames of a clip that a video VAE encodes at once: the first one, then four by four."""
CORES = 4
"""Fewer cores than this and decoding pictures and loading an encoder only stand in each other's way."""


def caching_side_by_side(job: Job, facts: Facts, recipe: Recipe) -> tuple[bool, str]:
    """Tell whether both caching steps should run at once, and why, in words."""
    caching, machine, dataset = job.caching, facts.machine, facts.dataset
    latents = caching.run_latents and not (caching.latent_skip_existing and dataset.latents.fresh)
    text = caching.run_text and not (caching.text_skip_existing and dataset.text.fresh)
    if not (latents and text):
        return False, "at most one of the two has anything to do"
    if not machine.gpus or "cpu" in (caching.latent_device, caching.text_device):
        return False, "on the CPU they would share the cores"
    if machine.cpus < CORES:
        return False, f"there are {machine.cpus} cores, and both need some"
    room = min(machine.gpus) / GIB * ROOM
    need = text_gib(job, facts, recipe) + latents_gib(job, facts, recipe)
    if need > room:
        return False, f"together they take about {need:.0f} of {room:.0f} GiB of GPU memory"
    ram = _gigabytes(recipe, recipe.scripts.cache_text) + _gigabytes(recipe, recipe.scripts.cache_latents)
    if 2 * PROCESSES_GIB + ram > machine.ram / GIB:
        return False, "the main memory may not hold both models while they are loaded"
    return True, f"both fit: about {need:.0f} of {room:.0f} GiB of GPU memory"


def text_gib(job: Job, facts: Facts, recipe: Recipe) -> float:
    """Return what encoding captions takes of a GPU: all encoders of the step, the large one perhaps in 8 bits."""
    small = text_encoder_in_8_bits(job.caching.fp8_text_encoder, facts.machine.gpus, recipe)
    small = small and recipe.scripts.cache_text.fp8_text_encoder is not None
    half = recipe.memory.text_encoder_billions * 1e9 / GIB if small else 0.0
    return _gigabytes(recipe, recipe.scripts.cache_text) - half + TEXT_ENCODER_EXTRA_GIB


def latents_gib(job: Job, facts: Facts, recipe: Recipe) -> float:
    """Return what encoding pictures or clips takes of a GPU: all models of the step, and what they compute."""
    batch = job.caching.latent_batch_size
    sizes = (
        bucket.width * bucket.height * min(bucket.frames, FRAMES_AT_ONCE) * min(batch, bucket.batch)
        for bucket in facts.dataset.buckets
    )
    return _gigabytes(recipe, recipe.scripts.cache_latents) + VAE_GIB * max(sizes, default=1024 * 1024) / 1e6


def _gigabytes(recipe: Recipe, script: Script) -> float:
    """Return what the files of a step's weights take, in GiB."""
    roles = set(script.weights.values())
    return sum(one.gigabytes for role, one in recipe.weights.items() if role in roles) * 1e9 / GIB
