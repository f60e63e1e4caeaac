"""The trainer's environment as facts: what its verification wrote down, and what is there now."""

from collections.abc import Iterable
from pathlib import Path

from musabi.engines.musubi.contract import installed_contract
from musabi.errors import MachineError
from musabi.hub.weights import hub_cache_of
from musabi.job.facts import TrainerFacts
from musabi.recipes import Recipe
from musabi.recipes.recipe import Tokenizer
from musabi.whole import read_json, write_json

FACTS_NAME = "musabi-trainer.json"
MEND = "Run musabi bootstrap to make it."


def trainer_facts(checkout: Path, hf_home: Path, recipe: Recipe, state: Path) -> TrainerFacts:
    """Return the environment that was made for the checkout, as a model's recipe uses it.

    `state` is a folder to remember in what the checkout's scripts accept.

    Raises:
        MachineError: the checkout, its environment or the proof that it works is not there.
    """
    if not (checkout / recipe.package).is_dir():
        raise MachineError(f"musubi-tuner is not in {checkout}. Run musabi bootstrap to fetch it.")
    venv = checkout / ".venv"
    known = read_json(venv / FACTS_NAME)
    if not isinstance(known, dict) or not is_made(checkout):
        raise MachineError(f"musubi-tuner's Python environment is not in {venv}. {MEND}")
    packages = set(known.get("packages", ())) | ({"flash_attn"} if known.get("flash_attn") else set())
    config = Path(known["accelerate_config"]) if known.get("accelerate_config") else None
    return TrainerFacts(
        python=venv / "bin" / "python",
        root=checkout,
        commit=str(known.get("commit", "")),
        torch=str(known.get("torch", "")),
        packages=frozenset(packages),
        accelerate_config=config if config is not None and config.is_file() else None,
        missing=missing_tokenizers(recipe, hub_cache_of(hf_home)),
        contract=installed_contract(checkout, state),
    )


def is_made(checkout: Path) -> bool:
    """Tell whether the checkout has an environment that was verified and whose Python is on this machine."""
    venv = checkout / ".venv"
    return isinstance(read_json(venv / FACTS_NAME), dict) and (venv / "bin" / "python").exists()


def write_trainer_facts(
    venv: Path,
    *,
    python: str,
    torch: str,
    torchvision: str,
    commit: str,
    packages: Iterable[str],
    flash_attn: bool,
    accelerate_config: Path | None = None,
) -> None:
    """Write down what the verification of an environment found, for `trainer_facts`.

    `python`, `torch` and `torchvision` are versions, `packages` the optional packages that imported,
    `flash_attn` tells whether a kernel of it ran on this machine.
    """
    values = {
        "python": python,
        "torch": torch,
        "torchvision": torchvision,
        "commit": commit,
        "packages": sorted(packages),
        "flash_attn": flash_attn,
        "accelerate_config": str(accelerate_config) if accelerate_config else None,
    }
    write_json(venv / FACTS_NAME, values)


def missing_tokenizers(recipe: Recipe, cache: Path) -> dict[str, tuple[str, ...]]:
    """Return, by the step that reads it, what is missing of the model's tokenizers in the hub cache."""
    missing: dict[str, tuple[str, ...]] = {}
    for tokenizer in recipe.tokenizers:
        told = missing_tokenizer(tokenizer, cache, recipe.name)
        for step in tokenizer.steps if told else ():
            missing[step] = (*missing.get(step, ()), *told)
    return missing


def missing_tokenizer(tokenizer: Tokenizer, cache: Path, model: str) -> tuple[str, ...]:
    """Return what is missing of the tokenizer in the hub cache, as a sentence with its mend; () if nothing.

    Layout: models--OWNER--NAME/refs/main holds a commit, snapshots/COMMIT/ the files.
    """
    repo = cache / f"models--{tokenizer.repo.replace('/', '--')}"
    try:
        commit = (repo / "refs" / "main").read_text(encoding="utf-8").strip()
        absent = [
            name
            for name in tokenizer.files
            if not (repo / "snapshots" / commit / tokenizer.folder / name).is_file()
        ]
    except OSError:
        absent = list(tokenizer.files)
    if not absent:
        return ()
    return (
        f"The tokenizer of {tokenizer.repo} is not in the hub cache {cache} ({', '.join(absent)} missing), "
        f"and the trainer reads it offline. Fetch it with musabi models download {model}.",
    )
