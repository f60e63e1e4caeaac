"""Facts for a plan: the machine, the dataset, the weights, the trainer's environment."""

from musabi.dataset.config import read_config
from musabi.dataset.gather import dataset_facts
from musabi.dataset.prompts import read_prompts
from musabi.engines.lora_size import lora_parameters
from musabi.engines.registry import trainer_facts
from musabi.job.facts import Facts
from musabi.job.model import Job
from musabi.job.preflight import require_weights
from musabi.machine import machine_facts
from musabi.settings import Settings


def gather(settings: Settings, job: Job, *, samples: bool = False, dit: bool = True) -> Facts:
    """Return everything that a plan for `job` depends on.

    `samples`: it renders prompts at the end. `dit`: it needs the DiT, which caching does not.

    Raises:
        RequestError: the dataset, the prompts or a weight file is wrong or missing.
        MachineError: the engine's environment is not there.
    """
    trainer = trainer_facts(job.engine, settings)
    config = read_config(job.dataset_config)
    require_weights(job, dit=dit)
    if samples or job.sample_every_n_epochs is not None:
        read_prompts(job.sample_prompts)
    dataset = dataset_facts(
        config,
        job.engine,
        job.caching,
        job.vae,
        job.text_encoder,
        job.allow_missing_captions,
        job.extra_cache_args,
    )
    return Facts(
        machine=machine_facts(),
        dataset=dataset,
        trainer=trainer,
        environment=settings.child_environment,
        lora_parameters=lora_parameters(job.dit, job.network_dim) if dit else 0,
    )
