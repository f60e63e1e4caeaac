"""Facts for a plan: the machine, the dataset, the weights, the trainer's environment."""

import os
from collections.abc import Collection

from musabi.dataset.config import DatasetConfig, read_config
from musabi.dataset.gather import dataset_facts
from musabi.dataset.prompts import prompt_rules, read_prompts
from musabi.engines.dit_file import dit_dtype, lora_parameters
from musabi.engines.lora_steps import native_adapter
from musabi.engines.musubi.fit import text_encoder_in_8_bits
from musabi.engines.musubi.training import always as _always
from musabi.engines.registry import require_model, trainer_facts
from musabi.errors import MachineError, RequestError
from musabi.job.facts import DatasetFacts, Facts, MachineFacts, TrainerFacts
from musabi.job.gpus import VISIBLE, first
from musabi.job.model import Job
from musabi.job.preflight import require_weights
from musabi.machine import machine_facts
from musabi.recipes import Recipe, load
from musabi.settings import Settings


def gather(
    settings: Settings, job: Job, *, samples: bool = False, dit: bool = True, look: bool = False
) -> Facts:
    """Return everything that a plan for `job` depends on.

    `samples`: it renders prompts at the end. `dit`: it needs the DiT, which caching does not. `look`: the plan is
    only looked at, so a trainer or weights that are not here yet are noted and not refused.

    Raises:
        RequestError: the dataset, the prompts or a weight file is wrong or missing.
        MachineError: the engine's environment is not there, or there are fewer GPUs than are asked for.
    """
    recipe = load(job.model)
    require_model(job.engine, recipe)
    trainer, notes = _trainer(job, settings, recipe, look=look)
    config = read_config(job.dataset_config, recipe.dataset, recipe.architecture, recipe.title)
    notes += _weights(job, None if dit else recipe.caching_roles, look=look)
    rendered = samples or job.sample_every_n_epochs is not None
    prompts = read_prompts(job.sample_prompts, prompt_rules(recipe)) if rendered else ()
    share = first(machine_facts(), job.gpus, os.environ.get(VISIBLE))
    machine = share.machine
    dataset = _dataset(config, job, recipe, machine)
    return Facts(
        machine=machine,
        dataset=dataset,
        trainer=trainer,
        environment=settings.child_environment | share.environment,
        lora_parameters=lora_parameters(job.dit, recipe.network.modules, job.network_dim) if dit else 0,
        dit_dtype=dit_dtype(job.dit) if dit else "",
        adapter_is_native=_is_native(job),
        prompts=prompts,
        notes=notes,
    )


def _trainer(
    job: Job, settings: Settings, recipe: Recipe, *, look: bool
) -> tuple[TrainerFacts, tuple[str, ...]]:
    """Return the trainer's environment; for a look, where there is none, as the bootstrap would make it."""
    try:
        return trainer_facts(job.engine, settings, recipe), ()
    except MachineError as problem:
        if not look:
            raise
        from musabi.engines.musubi.rehearse import trainer_to_come

        return trainer_to_come(settings.space), (f"{problem} This is what it would do.",)


def _weights(job: Job, roles: Collection[str] | None, *, look: bool) -> tuple[str, ...]:
    try:
        require_weights(job, roles)
    except RequestError as problem:
        if not look:
            raise
        return (str(problem),)
    return ()


def _dataset(config: DatasetConfig, job: Job, recipe: Recipe, machine: MachineFacts) -> DatasetFacts:
    """Return the dataset's facts. Captions that were encoded on another GPU, in 8 bits or not, are kept."""
    scripts = recipe.scripts
    asked = job.caching.fp8_text_encoder
    eight_bits = text_encoder_in_8_bits(asked, machine.gpus, recipe)
    return dataset_facts(
        config,
        job.engine,
        job.caching.model_copy(update={"fp8_text_encoder": eight_bits}),
        latent_weights=tuple(job.weights[role] for role in scripts.cache_latents.weights.values()),
        text_weights=tuple(job.weights[role] for role in scripts.cache_text.weights.values()),
        latent_arguments=(*_always(scripts.cache_latents), *job.extra_cache_args),
        text_arguments=(*_always(scripts.cache_text), *job.extra_cache_args),
        allow_missing_captions=job.allow_missing_captions,
        either_precision=asked is None,
    )


def _is_native(job: Job) -> bool:
    adapter = job.weights.get("adapter")
    if adapter is None or not adapter.is_file():
        return False
    copy = native_adapter(adapter)
    return copy.is_file() and copy.stat().st_mtime >= adapter.stat().st_mtime
