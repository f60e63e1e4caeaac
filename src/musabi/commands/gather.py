"""Facts for a plan: the machine, the dataset, the weights, the trainer's environment."""

import os

from musabi.dataset.config import read_config
from musabi.dataset.gather import dataset_facts
from musabi.dataset.prompts import prompt_rules, read_prompts
from musabi.engines.dit_file import dit_dtype, lora_parameters
from musabi.engines.lora_steps import native_adapter
from musabi.engines.musubi.fit import text_encoder_in_8_bits
from musabi.engines.musubi.training import always as _always
from musabi.engines.registry import trainer_facts
from musabi.job.facts import Facts
from musabi.job.gpus import VISIBLE, first
from musabi.job.model import Job
from musabi.job.preflight import require_weights
from musabi.machine import machine_facts
from musabi.recipes import load
from musabi.settings import Settings


def gather(settings: Settings, job: Job, *, samples: bool = False, dit: bool = True) -> Facts:
    """Return everything that a plan for `job` depends on.

    `samples`: it renders prompts at the end. `dit`: it needs the DiT, which caching does not.

    Raises:
        RequestError: the dataset, the prompts or a weight file is wrong or missing.
        MachineError: the engine's environment is not there, or there are fewer GPUs than are asked for.
    """
    recipe = load(job.model)
    trainer = trainer_facts(job.engine, settings, recipe)
    config = read_config(job.dataset_config, recipe.dataset, recipe.architecture, recipe.title)
    require_weights(job, None if dit else recipe.caching_roles)
    rendered = samples or job.sample_every_n_epochs is not None
    prompts = read_prompts(job.sample_prompts, prompt_rules(recipe)) if rendered else ()
    share = first(machine_facts(), job.gpus, os.environ.get(VISIBLE))
    machine = share.machine
    scripts = recipe.scripts
    small = text_encoder_in_8_bits(job.caching.fp8_text_encoder, machine.gpus, recipe)
    dataset = dataset_facts(
        config,
        job.engine,
        job.caching.model_copy(update={"fp8_text_encoder": small}),
        latent_weights=tuple(job.weights[role] for role in scripts.cache_latents.weights.values()),
        text_weights=tuple(job.weights[role] for role in scripts.cache_text.weights.values()),
        latent_arguments=(*_always(scripts.cache_latents), *job.extra_cache_args),
        text_arguments=(*_always(scripts.cache_text), *job.extra_cache_args),
        allow_missing_captions=job.allow_missing_captions,
    )
    return Facts(
        machine=machine,
        dataset=dataset,
        trainer=trainer,
        environment=settings.child_environment | share.environment,
        lora_parameters=lora_parameters(job.dit, recipe.network.modules, job.network_dim) if dit else 0,
        dit_dtype=dit_dtype(job.dit) if dit else "",
        adapter_is_native=_is_native(job),
        prompts=prompts,
    )


def _is_native(job: Job) -> bool:
    adapter = job.weights.get("adapter")
    if adapter is None or not adapter.is_file():
        return False
    copy = native_adapter(adapter)
    return copy.is_file() and copy.stat().st_mtime >= adapter.stat().st_mtime
