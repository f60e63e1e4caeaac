"""The scripts of the installed musubi-tuner: where they lie, what environment they get."""

from musabi.errors import MachineError, RequestError
from musabi.job.facts import Facts
from musabi.job.plan import Step
from musabi.recipes import Recipe
from musabi.recipes.recipe import StepKind


def script(name: StepKind, facts: Facts, recipe: Recipe) -> str:
    """Return the path of the step's script.

    Raises:
        MachineError: there is no checkout.
    """
    if facts.trainer.root is None:
        raise MachineError("musubi-tuner is not here. Run musabi bootstrap to fetch it.")
    return str(facts.trainer.root / recipe.package / recipe.scripts.of(name).file)


def require_accepted(
    step: Step, facts: Facts, recipe: Recipe, name: StepKind, given: tuple[str, ...] = ()
) -> None:
    """Hold a step's command line against what the installed version accepts; `given` is what was passed on.

    Raises:
        RequestError: an argument that a person passed on would be refused or misread.
        MachineError: an argument that every plan passes is not known: another version is installed.
    """
    if facts.trainer.contract is None:
        return
    file = recipe.scripts.of(name).file
    theirs = {word.partition("=")[0] for word in given}
    path = script(name, facts, recipe)
    found = facts.trainer.contract.faults(file, step.argv[step.argv.index(path) + 1 :])
    asked = [fault.message for fault in found if fault.flag in theirs]
    if asked:
        raise RequestError(" ".join(asked))
    if found:
        raise MachineError(
            f"{found[0].message} The installed musubi-tuner ({facts.trainer.commit[:12] or 'of unknown version'}) "
            "is too old or too new: unset MUSUBI_REF and run musabi bootstrap to get the version that this one "
            "was made for."
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
