"""The last look at the trainer: it starts, torch is the pinned one, its scripts are there. Then it is written
down for those who use it."""

from pathlib import Path
from typing import Any

from musabi.engines.musubi.environment import FACTS_NAME, write_trainer_facts
from musabi.errors import MachineError
from musabi.pod.bootstrap.stage import Context, Facts, Proof, Stage, Work
from musabi.pod.bootstrap.stages.accelerate import config_file
from musabi.pod.bootstrap.stages.environment import fits_pin, installed_versions
from musabi.pod.bootstrap.stages.packages import EXTRAS
from musabi.recipes import load
from musabi.whole import read_json


def trainer_scripts(checkout: Path, model: str) -> list[Path]:
    """Return where the scripts of a model's recipe belong in a checkout."""
    recipe = load(model)
    return [checkout / recipe.package / file for file in recipe.scripts.files]


def describe(context: Context) -> dict[str, Any]:
    """Return what is written down of the environment: the arguments of `write_trainer_facts`."""
    facts = context.facts
    found = facts["packages"]["packages"]
    python, torch, torchvision = facts["environment"]["versions"]
    return {
        "python": python,
        "torch": torch,
        "torchvision": torchvision,
        "commit": facts["clone"]["commit"],
        "packages": [name for name in EXTRAS if name in found],
        "flash_attn": "flash_attn" in found,
        "accelerate_config": config_file(context.options.space),
    }


def _depends_on(context: Context) -> Any:  # noqa: ANN401 - any JSON value
    return describe(context)


def _proof(context: Context, facts: Facts) -> Proof:
    there = all(
        script.is_file() for script in trainer_scripts(context.options.space.checkout, context.options.model)
    )
    return Proof(there and read_json(context.options.venv / FACTS_NAME) == facts["written"])


def _verify(work: Work) -> Facts:
    options = work.options
    versions = installed_versions(work.context)
    if versions is None:
        raise MachineError(
            f"{options.python} does not start. Delete {options.venv} and run musabi bootstrap again."
        )
    for package, found, pinned in (
        ("torch", versions[1], options.musubi_torch_version),
        ("torchvision", versions[2], options.musubi_torchvision_version),
    ):
        if not fits_pin(found, pinned):
            raise MachineError(
                f"The trainer's environment has {package} {found} where {pinned} was asked for. "
                f"Delete {options.venv} and run musabi bootstrap again."
            )
    for package, error in work.context.facts["packages"]["broken"].items():
        if package in ("torch", "torchvision"):
            raise MachineError(
                f"{package} is installed but does not import: {error}. Check that MUSUBI_TORCH_VERSION, "
                "MUSUBI_TORCHVISION_VERSION and MUSUBI_CUDA_EXTRA belong together, then run musabi bootstrap "
                "again."
            )
    missing = [
        script for script in trainer_scripts(options.space.checkout, options.model) if not script.is_file()
    ]
    if missing:
        raise MachineError(
            f"The musubi-tuner at {options.musubi_ref} has no {missing[0].name}. "
            "Unset MUSUBI_REF for the version that this was made for."
        )
    write_trainer_facts(options.venv, **describe(work.context))
    work.say(f"torch {versions[1]}, Python {versions[0]}")
    return {"written": read_json(options.venv / FACTS_NAME)}


VERIFY = Stage("verify", ("link", "packages", "clone", "accelerate"), "machine", _depends_on, _proof, _verify)
