"""The caching command lines: pure."""

from musabi.engines.musubi import extra
from musabi.engines.musubi.scripts import base_environment, require_known, script
from musabi.job.facts import CacheFacts, DatasetFacts, Facts
from musabi.job.model import Job
from musabi.job.plan import Step, StepName
from musabi.recipes import Recipe


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
    return (
        _step("cache-latents", "Cache the latents", _latents(job, facts), why_not_latents, facts, recipe),
        _step("cache-text", "Cache the captions", _text(job, facts), why_not_text, facts, recipe),
    )


def _step(
    name: StepName, title: str, arguments: tuple[str, ...], skip: str | None, facts: Facts, recipe: Recipe
) -> Step:
    require_known(name, arguments, facts, recipe)
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


def _latents(job: Job, facts: Facts) -> tuple[str, ...]:
    caching = job.caching
    return (
        *("--dataset_config", str(job.dataset_config), "--vae", str(job.vae)),
        *("--device", _device(caching.latent_device, facts)),
        *("--batch_size", str(caching.latent_batch_size), "--num_workers", str(caching.latent_workers)),
        *(("--skip_existing",) if caching.latent_skip_existing else ()),
        *(("--disable_cudnn_backend",) if caching.disable_cudnn_backend else ()),
        *extra.for_latents(job.extra_cache_args),
    )


def _text(job: Job, facts: Facts) -> tuple[str, ...]:
    caching = job.caching
    device = _device(caching.text_device, facts)
    return (
        *("--dataset_config", str(job.dataset_config), "--text_encoder", str(job.text_encoder)),
        *("--device", device),
        *("--batch_size", str(caching.text_batch_size), "--num_workers", str(caching.text_workers)),
        *(("--skip_existing",) if caching.text_skip_existing else ()),
        *(("--fp8_llm",) if caching.fp8_text_encoder and device != "cpu" else ()),
        *extra.for_text(job.extra_cache_args),
    )


def _device(asked: str | None, facts: Facts) -> str:
    """Return the device to cache on: the CPU where there is no GPU, whatever was asked for."""
    return asked or "cuda" if facts.machine.gpus else "cpu"


def _batches(dataset: DatasetFacts) -> int | None:
    """Return about how many batches a caching script goes through: it takes each image once."""
    return min(dataset.images, dataset.batches_per_epoch) or None
