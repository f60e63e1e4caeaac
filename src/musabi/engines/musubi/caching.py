"""The caching command lines: pure."""

from dataclasses import replace

from musabi.engines.musubi import extra
from musabi.engines.musubi.fit import text_encoder_in_8_bits
from musabi.engines.musubi.scripts import base_environment, script
from musabi.engines.musubi.side_by_side import caching_side_by_side
from musabi.engines.musubi.training import always, weight_arguments
from musabi.job.facts import CacheFacts, DatasetFacts, Facts
from musabi.job.model import Job
from musabi.job.plan import Step
from musabi.recipes import Recipe
from musabi.recipes.recipe import Script, StepKind


def cache_steps(job: Job, facts: Facts, recipe: Recipe) -> tuple[Step, ...]:
    """Return the two caching steps, each with `skip` where there is nothing to do.

    `--skip_existing` asks only whether a file is there, so what is stale is discarded first; where
    existing files are not to be kept, the flag is left out and all of them are made anew.
    """
    caching, dataset = job.caching, facts.dataset
    why_not_latents = _why_not(
        dataset.latents, caching.run_latents, caching.latent_skip_existing, "RUN_LATENT_CACHE"
    )
    why_not_text = _why_not(
        dataset.text, caching.run_text, caching.text_skip_existing, "RUN_TEXT_ENCODER_CACHE"
    )
    latents, text = _latents(job, facts, recipe), _text(job, facts, recipe)
    second = _step("cache-text", "Cache the captions", text, why_not_text, facts, recipe)
    return (
        _step("cache-latents", "Cache the latents", latents, why_not_latents, facts, recipe),
        replace(second, beside=caching_side_by_side(job, facts, recipe)[0]),
    )


def _step(
    name: StepKind, title: str, arguments: tuple[str, ...], skip: str | None, facts: Facts, recipe: Recipe
) -> Step:
    cache = facts.dataset.latents if name == "cache-latents" else facts.dataset.text
    return Step(
        name=name,
        title=title,
        argv=(str(facts.trainer.python), script(name, facts, recipe), *arguments),
        env=base_environment(facts),
        cwd=facts.trainer.root,
        discard=cache.stale,
        stamp=cache.stamp,
        skip=skip,
        total=_batches(facts.dataset),
    )


def _why_not(cache: CacheFacts, run: bool, keep: bool, variable: str) -> str | None:
    if not run:
        return f"{variable} is 0"
    return f"all {cache.expected} files are up to date" if keep and cache.fresh else None


def _latents(job: Job, facts: Facts, recipe: Recipe) -> tuple[str, ...]:
    caching, own = job.caching, recipe.scripts.cache_latents
    return (
        *("--dataset_config", str(job.dataset_config), *weight_arguments(own.weights, job)),
        *("--device", _device(caching.latent_device, facts)),
        *("--batch_size", str(caching.latent_batch_size), "--num_workers", str(caching.latent_workers)),
        *(("--skip_existing",) if caching.latent_skip_existing else ()),
        *(("--disable_cudnn_backend",) if caching.disable_cudnn_backend else ()),
        *always(own),
        *_extra(job, facts, own, recipe.scripts.cache_text),
    )


def _text(job: Job, facts: Facts, recipe: Recipe) -> tuple[str, ...]:
    caching, own = job.caching, recipe.scripts.cache_text
    device = _device(caching.text_device, facts)
    gpus = facts.machine.gpus if device != "cpu" else ()
    small = own.fp8_text_encoder if text_encoder_in_8_bits(caching.fp8_text_encoder, gpus, recipe) else None
    return (
        *("--dataset_config", str(job.dataset_config), *weight_arguments(own.weights, job)),
        *("--device", device),
        *("--batch_size", str(caching.text_batch_size), "--num_workers", str(caching.text_workers)),
        *(("--skip_existing",) if caching.text_skip_existing else ()),
        *((small,) if small else ()),
        *always(own),
        *_extra(job, facts, own, recipe.scripts.cache_latents),
    )


def _extra(job: Job, facts: Facts, own: Script, other: Script) -> tuple[str, ...]:
    """Return the extra arguments that go to the script `own`; those that only the other one knows don't."""
    contract = facts.trainer.contract
    if contract is None:
        return job.extra_cache_args
    return extra.for_script(job.extra_cache_args, contract.flags(own.file), contract.flags(other.file))


def _device(asked: str | None, facts: Facts) -> str:
    """Return the device to cache on: the CPU where there is no GPU, whatever was asked for."""
    return asked or "cuda" if facts.machine.gpus else "cpu"


def _batches(dataset: DatasetFacts) -> int | None:
    """Return about how many batches a caching script goes through: it takes each image once."""
    return min(dataset.images, dataset.batches_per_epoch) or None
