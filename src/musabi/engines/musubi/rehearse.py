"""A recipe's plan on a machine that is made up: every command line, without weights, dataset or GPU. Pure."""

from dataclasses import replace
from pathlib import Path

from musabi.contract import committed
from musabi.engines.musubi.contract import Installed
from musabi.engines.musubi.engine import MusubiEngine
from musabi.job.facts import BucketFacts, CacheFacts, DatasetFacts, Facts, MachineFacts, TrainerFacts
from musabi.job.model import Job
from musabi.job.plan import Schedule, Step
from musabi.job.planner import convert_step
from musabi.job.prompt import Prompt
from musabi.recipes import Recipe
from musabi.workspace import Workspace

GPU_BYTES = 80 * 1024**3
ITEMS = 50


def rehearse(recipe: Recipe, contract: Installed) -> tuple[Step, ...]:
    """Return every step of a run of the recipe's model, held against what the trainer's scripts accept.

    The dataset is 50 squares of 1024 pixels, the GPU has 80 GiB, nothing is cached.

    Raises:
        RequestError, MachineError: a script would refuse its arguments, or the recipe contradicts itself.
    """
    engine, space = MusubiEngine(), Workspace(Path("/workspace"))
    job = made_up_job(recipe, space)
    facts = made_up_facts(space, contract)
    engine.refuse(job, facts)
    timing = Schedule(ITEMS, 10, 10 * ITEMS, 50, save_every=1, state_every=1, sample_every=5)
    lora = space.output / f"{job.output_name}.safetensors"
    return (
        *engine.cache_steps(job, facts),
        *engine.adapter_steps(job, facts),
        engine.train_step(job, facts, timing, None),
        convert_step(engine, job, lora),
        *engine.sample_steps(job, facts, lora, space.output / "sample"),
    )


def made_up_job(recipe: Recipe, space: Workspace) -> Job:
    """Return a job with the recipe's own values and the files in their usual places."""
    weights = {role: space.models / one.folder / one.first for role, one in recipe.weights.items()}
    return Job(
        model=recipe.name,
        output_dir=space.output,
        logging_dir=space.logs,
        dataset_config=space.dataset_config,
        sample_prompts=space.sample_prompts,
        weights=weights,
        network_dim=recipe.network.dim,
        network_alpha=recipe.network.alpha,
        sample_every_n_epochs=5,
    )


def trainer_to_come(space: Workspace) -> TrainerFacts:
    """Return the environment that the bootstrap makes for the pinned version, where it was not made yet."""
    return TrainerFacts(
        python=space.checkout / ".venv" / "bin" / "python",
        root=space.checkout,
        packages=frozenset({"bitsandbytes", "prodigyopt", "tensorboard"}),
        contract=Installed(committed()),
    )


def made_up_facts(space: Workspace, contract: Installed) -> Facts:
    """Return the facts of a pod with one large GPU, where nothing is cached."""
    trainer = replace(trainer_to_come(space), contract=contract)
    dataset = DatasetFacts(
        images=ITEMS,
        batches_per_epoch=ITEMS,
        buckets=(BucketFacts(1024, 1024, ITEMS, ITEMS),),
        latents=CacheFacts(ITEMS, ITEMS),
        text=CacheFacts(ITEMS, ITEMS),
    )
    return Facts(
        machine=MachineFacts(gpus=(GPU_BYTES,), cpus=16),
        dataset=dataset,
        trainer=trainer,
        prompts=(Prompt("a lighthouse at dusk"),),
    )
