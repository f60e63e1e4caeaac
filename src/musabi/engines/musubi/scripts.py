"""The scripts of the installed musubi-tuner: where they lie, what they know, what environment they get."""

from collections.abc import Sequence

from musabi.engines.musubi.extra import flags
from musabi.errors import MachineError
from musabi.job.facts import Facts
from musabi.job.plan import StepName
from musabi.recipes import Recipe


def script(name: StepName, facts: Facts, recipe: Recipe) -> str:
    """Return the path of the step's script.

    Raises:
        MachineError: there is no checkout.
    """
    if facts.trainer.root is None:
        raise MachineError("musubi-tuner is not here. Run musabi bootstrap to fetch it.")
    return str(facts.trainer.root / recipe.package / recipe.scripts[name].file)


def require_known(name: StepName, arguments: Sequence[str], facts: Facts, recipe: Recipe) -> None:
    """Raise a MachineError where the installed version lacks an argument that every plan passes."""
    known = facts.trainer.flags.get(name)
    unknown = sorted(flags(arguments) - known) if known else []
    if unknown:
        raise MachineError(
            f"The installed musubi-tuner ({facts.trainer.commit[:12] or 'of unknown version'}) is too old "
            f"or too new: {recipe.scripts[name].file} knows no {unknown[0]}. Unset MUSUBI_REF and run "
            "musabi bootstrap to get the version that this one was made for."
        )


def base_environment(facts: Facts) -> dict[str, str]:
    """Return what every script gets: no request to the hub, output line by line, no absent accelerator.

    HF_HUB_ENABLE_HF_TRANSFER=1 without that package is an error in huggingface-hub 0.34.3.
    """
    wish = facts.environment.get("HF_HUB_ENABLE_HF_TRANSFER", "0")
    transfer = wish == "1" and "hf_transfer" in facts.trainer.packages
    return facts.environment | {
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_ENABLE_HF_TRANSFER": "1" if transfer else "0",
        "PYTHONUNBUFFERED": "1",
    }
