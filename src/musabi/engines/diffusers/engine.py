"""The embedded engine: a job becomes command lines of this package's own modules. Pure; imports nothing heavy."""

from collections.abc import Sequence
from pathlib import Path

from musabi.engines.diffusers import cache_latents, cache_text, extra, sample
from musabi.engines.diffusers.failures import explain
from musabi.engines.diffusers.optimization import optimizer_arguments, optimizer_choice
from musabi.engines.diffusers.parser import JsonLines
from musabi.engines.diffusers.refusals import refuse
from musabi.engines.diffusers.statefiles import read_progress
from musabi.engines.lora_steps import to_comfyui_step
from musabi.job.engine import Failure
from musabi.job.facts import CacheFacts, Facts
from musabi.job.model import Job
from musabi.job.plan import Choice, Plan, ResumePoint, Schedule, Step, StepName
from musabi.recipes import load

MODULES = "musabi.engines.diffusers"

# No request to the hub (nor its older client's switch), output line by line, no chatter between the events.
ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_ENABLE_HF_TRANSFER": "0",
    "PYTHONUNBUFFERED": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
    "DIFFUSERS_VERBOSITY": "error",
}


class DiffusersEngine:
    """Plans for diffusers, peft and prodigyopt, run by the interpreter that has the package's extra."""

    name = "diffusers"
    saves_on_stop = True

    def processes(self, facts: Facts) -> int:
        """Return 1: this engine trains on one device."""
        return 1

    def batches_a_step(self, job: Job, facts: Facts) -> int:
        """Return 1: this engine adds no batches up."""
        return 1

    def refuse(self, job: Job, facts: Facts) -> None:
        """Raise a RequestError or MachineError for what this engine or its environment can't do."""
        refuse(job, facts)

    def cache_steps(self, job: Job, facts: Facts) -> tuple[Step, ...]:
        """Return the two caching steps, each with `skip` set where its cache is fresh."""
        caching, dataset = job.caching, facts.dataset
        skip = _why_not(
            dataset.latents, caching.run_latents, caching.latent_skip_existing, "RUN_LATENT_CACHE"
        )
        latents = _step(
            facts,
            "cache-latents",
            "Cache the latents",
            *("cache_latents", "--dataset_config", str(job.dataset_config), "--vae", str(job.vae)),
            *("--device", _device(facts, caching.latent_device)),
            *("--batch_size", str(caching.latent_batch_size), "--num_workers", str(caching.latent_workers)),
            *(("--skip_existing",) if caching.latent_skip_existing else ()),
            *(("--disable_cudnn_backend",) if caching.disable_cudnn_backend else ()),
            *extra.for_parser(job.extra_cache_args, cache_latents.arguments()),
            cache=dataset.latents,
            skip=skip,
        )
        skip = _why_not(dataset.text, caching.run_text, caching.text_skip_existing, "RUN_TEXT_ENCODER_CACHE")
        text = _step(
            facts,
            "cache-text",
            "Cache the captions",
            *("cache_text", "--dataset_config", str(job.dataset_config)),
            *("--text_encoder", str(job.text_encoder), "--device", _device(facts, caching.text_device)),
            *("--batch_size", str(caching.text_batch_size), "--num_workers", str(caching.text_workers)),
            *(("--skip_existing",) if caching.text_skip_existing else ()),
            *extra.for_parser(job.extra_cache_args, cache_text.arguments()),
            cache=dataset.text,
            skip=skip,
        )
        return latents, text

    def train_step(self, job: Job, facts: Facts, schedule: Schedule, resume: ResumePoint | None) -> Step:
        """Return the training step; a resumed one is given the whole run's lengths and goes on by itself."""
        sampling = schedule.sample_every is not None
        checkpointing = bool(facts.machine.gpus) and "--gradient_checkpointing" not in job.extra_train_args
        return _step(
            facts,
            "train",
            "Train the LoRA",
            *("train", "--dit", str(job.dit), "--vae", str(job.vae)),
            *("--text_encoder", str(job.text_encoder), "--dataset_config", str(job.dataset_config)),
            *("--network_dim", str(job.network_dim), "--network_alpha", f"{job.network_alpha:g}"),
            *optimizer_arguments(job, facts, schedule.warmup_steps),
            *("--max_train_epochs", str(schedule.epochs), "--max_train_steps", str(schedule.steps)),
            *("--save_every_n_epochs", str(schedule.save_every)),
            *("--save_state_every_n_epochs", str(schedule.state_every)),
            *(("--sample_prompts", str(job.sample_prompts)) if sampling else ()),
            *(("--sample_every_n_epochs", str(schedule.sample_every)) if sampling else ()),
            *("--output_dir", str(job.output_dir), "--output_name", job.output_name),
            *("--save_precision", job.save_precision, "--seed", str(job.seed)),
            *("--logging_dir", str(job.logging_dir), "--log_prefix", f"{job.output_name}-"),
            *("--discrete_flow_shift", "2.0", "--device", _device(facts, None)),
            *(("--gradient_checkpointing",) if checkpointing else ()),
            *(("--resume", str(resume.state)) if resume else ()),
            *job.extra_train_args,
            total=schedule.steps,
        )

    def adapter_steps(self, job: Job, facts: Facts) -> tuple[Step, ...]:
        """Return no step: this engine merges nothing into the model."""
        return ()

    def convert_step(self, job: Job, source: Path, target: Path) -> Step:
        """Return the step that writes `source` (native keys) to `target` as ComfyUI reads it."""
        return to_comfyui_step(source, target, load(job.model))

    def sample_steps(
        self, job: Job, facts: Facts, lora: Path | None, folder: Path, strength: float = 1.0
    ) -> tuple[Step, ...]:
        """Return the step that renders the job's prompts into `folder`, with the LoRA at that strength."""
        extra.refuse_sample(job.extra_sample_args)
        step = _step(
            facts,
            "sample",
            "Render the sample prompts",
            *("sample", "--dit", str(job.dit), "--vae", str(job.vae)),
            *("--text_encoder", str(job.text_encoder), "--from_file", str(job.sample_prompts)),
            *(("--lora_weight", str(lora), "--lora_multiplier", f"{strength:g}") if lora else ()),
            *("--save_path", str(folder), "--output_name", job.output_name),
            *("--device", _device(facts, None)),
            *extra.for_parser(job.extra_sample_args, sample.arguments()),
        )
        return (step,)

    def decode_steps(self, job: Job, facts: Facts, latents: Sequence[Path], folder: Path) -> tuple[Step, ...]:
        """Return the step that decodes kept latents into `folder`; of the model only the VAE is loaded."""
        extra.refuse_sample(job.extra_sample_args)
        step = _step(
            facts,
            "sample",
            "Decode the latents",
            *("sample", "--vae", str(job.vae), "--latent_path", *map(str, latents)),
            *("--save_path", str(folder), "--device", _device(facts, None)),
            *extra.for_parser(job.extra_sample_args, sample.arguments()),
        )
        return (step,)

    def choices(self, job: Job, facts: Facts, schedule: Schedule) -> Sequence[Choice]:
        """Return what was chosen for this job on this machine, and why."""
        gpu = bool(facts.machine.gpus)
        precision = (
            ("bf16", "the GPU's own precision for this model") if gpu else ("fp32", "it runs on the CPU")
        )
        checkpointing = (
            ("on", "a GPU's memory would not hold all activations of Z-Image")
            if gpu
            else ("off", "there is memory enough, and it would cost time")
        )
        return (
            optimizer_choice(job, facts),
            Choice("device", _device(facts, None), "there is a GPU" if gpu else "there is no GPU"),
            Choice("model precision", *precision),
            Choice("gradient checkpointing", *checkpointing),
            Choice("timestep sampling", "shift", "what musubi-tuner's recipe for Z-Image takes"),
            Choice("discrete flow shift", "2.0", "what musubi-tuner's recipe for Z-Image takes"),
        )

    def warnings(self, job: Job, facts: Facts) -> Sequence[str]:
        """Return what a person should know before the run starts, a sentence each."""
        if facts.machine.gpus:
            return ()
        return ("There is no GPU here: good for the small model, far too slow for Z-Image's own weights.",)

    def easier(self, job: Job, facts: Facts, plan: Plan) -> None:
        """Return None: this engine has no settings that take less memory."""
        return

    def parser(self, step: Step) -> JsonLines:
        """Return a new parser for the step's output."""
        return JsonLines()

    def state_is_whole(self, folder: Path) -> bool:
        """Tell whether a `-state` folder holds everything that a resume needs."""
        return read_progress(folder) is not None

    def explain(self, step: Step, exit_code: int, tail: str) -> Failure:
        """Say in one or two plain sentences why a step failed, from the end of its output."""
        return explain(step, exit_code, tail)


def _step(
    facts: Facts,
    name: StepName,
    title: str,
    module: str,
    *arguments: str,
    cache: CacheFacts | None = None,
    skip: str | None = None,
    total: int | None = None,
) -> Step:
    """Return a step that runs one of the engine's modules."""
    return Step(
        name=name,
        title=title,
        argv=(str(facts.trainer.python), "-P", "-m", f"{MODULES}.{module}", *arguments),
        env=facts.environment | ENVIRONMENT,
        discard=cache.stale if cache else (),
        stamp=cache.stamp if cache else (),
        skip=skip,
        total=total if cache is None else cache.expected,
    )


def _why_not(cache: CacheFacts, run: bool, keep: bool, variable: str) -> str | None:
    if not run:
        return f"{variable} is 0"
    return f"all {cache.expected} files are up to date" if keep and cache.fresh else None


def _device(facts: Facts, asked: str | None) -> str:
    """Return the device to use: a GPU that was asked for by default is the CPU where there is none."""
    if not facts.machine.gpus:
        return "cpu"
    return asked or "cuda"
