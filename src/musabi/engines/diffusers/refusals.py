"""What this engine or its environment can't do, said before anything starts: pure."""

from musabi.engines.diffusers import extra
from musabi.errors import MachineError, RequestError
from musabi.job.facts import Facts
from musabi.job.model import Job

MODEL = "z-image"
NEEDED = ("torch", "diffusers", "transformers", "peft", "tensorboard")
MEND = "Run scripts/setup.sh diffusers in musabi's checkout."


def refuse(job: Job, facts: Facts) -> None:
    """Raise for a job that can't be done.

    Raises:
        RequestError: it asks for something that only another engine has, or a path or argument is wrong.
        MachineError: a package is missing.
    """
    if job.model != MODEL:
        raise RequestError(f"The diffusers engine trains {MODEL} only. For {job.model}, set ENGINE=musubi.")
    if job.blocks_to_swap:
        raise RequestError(
            "BLOCKS_TO_SWAP was set, but the diffusers engine can't swap blocks. Unset it, or use the engine that "
            "can: ENGINE=musubi."
        )
    if job.network_module != "lora" or job.network_args:
        raise RequestError(
            "The diffusers engine trains plain LoRAs. Unset NETWORK_MODULE and NETWORK_ARGS, or set ENGINE=musubi."
        )
    if job.show_timesteps or job.compile:
        raise RequestError("SHOW_TIMESTEPS and COMPILE are musubi-tuner's. Unset them, or set ENGINE=musubi.")
    extra.refuse_cache(job.extra_cache_args)
    extra.refuse_train(job.extra_train_args)
    extra.refuse_sample(job.extra_sample_args)
    _paths(job)
    _packages(job, facts)


def _paths(job: Job) -> None:
    named = (("DIT_PATH", job.dit), ("VAE_PATH", job.vae), ("TEXT_ENCODER_PATH", job.text_encoder))
    for variable, path in named:
        if path.suffix != ".safetensors":
            raise RequestError(
                f"{variable} is {path}, but the diffusers engine takes a .safetensors file there. "
                "Name the file, or the first shard of several."
            )


def _packages(job: Job, facts: Facts) -> None:
    needed = (*NEEDED, "prodigyopt") if job.optimizer == "prodigy" else NEEDED
    missing = [name for name in needed if name not in facts.trainer.packages]
    if missing:
        raise MachineError(f"The diffusers engine needs {', '.join(missing)}, which is not installed. {MEND}")
