"""The trainer's environment as facts: what its verification wrote down, and what is there now."""

import os
import re
from collections.abc import Iterable
from pathlib import Path

from musabi.engines.musubi.engine import MODEL
from musabi.errors import MachineError
from musabi.hub.weights import hub_cache
from musabi.job.facts import TrainerFacts
from musabi.recipes import Recipe, load
from musabi.recipes.recipe import Tokenizer
from musabi.whole import read_json, write_json

FACTS_NAME = "musabi-trainer.json"
_COMMENT = re.compile(r"^\s*#.*$", re.MULTILINE)
_ADD_ARGUMENT = re.compile(r"""\.add_argument\(\s*((?:["']--?[^"']+["']\s*,?\s*)+)""")
_FLAG = re.compile(r"""["'](--[^"']+)["']""")
MEND = "Run musabi bootstrap to make it."


def trainer_facts(checkout: Path, hf_home: Path) -> TrainerFacts:
    """Return the environment that was made for the checkout.

    Raises:
        MachineError: the checkout, its environment or the proof that it works is not there.
    """
    recipe = load(MODEL)
    if not (checkout / recipe.package).is_dir():
        raise MachineError(f"musubi-tuner is not in {checkout}. Run musabi bootstrap to fetch it.")
    venv = checkout / ".venv"
    known = read_json(venv / FACTS_NAME)
    python = venv / "bin" / "python"
    if not isinstance(known, dict) or not python.exists():
        raise MachineError(f"musubi-tuner's Python environment is not in {venv}. {MEND}")
    packages = set(known.get("packages", ())) | ({"flash_attn"} if known.get("flash_attn") else set())
    config = Path(known["accelerate_config"]) if known.get("accelerate_config") else None
    return TrainerFacts(
        python=python,
        root=checkout,
        commit=str(known.get("commit", "")),
        torch=str(known.get("torch", "")),
        packages=frozenset(packages),
        accelerate_config=config if config is not None and config.is_file() else None,
        missing=missing_tokenizer(recipe.tokenizer, hub_cache(dict(os.environ) | {"HF_HOME": str(hf_home)})),
        flags=known_flags(checkout, recipe),
    )


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


def missing_tokenizer(tokenizer: Tokenizer, cache: Path) -> tuple[str, ...]:
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
        "and the trainer reads it offline. Run musabi bootstrap to fetch it.",
    )


def known_flags(checkout: Path, recipe: Recipe) -> dict[str, frozenset[str]]:
    """Return the arguments that the installed scripts define, by step; what can't be read is left out."""
    found = {}
    for name, script in recipe.scripts.items():
        sources = [_flags_in(checkout / recipe.package, source) for source in script.arguments_in]
        flags = [source for source in sources if source is not None]
        if flags and len(flags) == len(sources):
            found[str(name)] = frozenset[str]().union(*flags)
    return found


def _flags_in(package: Path, source: str) -> frozenset[str] | None:
    """Return the flags of every add_argument call in `file.py`, or in one function of it (`file.py:name`).

    Read as text: parsing the sources takes a fifth of the time that a dry run may take.
    """
    file, _, function = source.partition(":")
    try:
        text = _COMMENT.sub("", (package / file).read_text(encoding="utf-8"))
    except OSError:
        return None
    if function:
        body = re.search(rf"^def {function}\(.*?(?=^\S|\Z)", text, re.MULTILINE | re.DOTALL)
        if body is None:
            return None
        text = body[0]
    return frozenset(flag for call in _ADD_ARGUMENT.findall(text) for flag in _FLAG.findall(call))
