"""The form of a training: its fields from the settings' table, and what of it may reach a command line. Pure.

A value goes into one argument together with its name (--name=value), so that nothing that is typed can be an option.
"""

import os.path
import shlex
import types
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from musabi.errors import RequestError
from musabi.settings import Settings, of_group, table

MOST_CHARACTERS = 2000
NAMED = {
    "model": "--model",
    "output_name": "--output-name",
    "optimizer": "--optimizer",
    "engine": "--engine",
    "max_train_epochs": "--epochs",
    "max_train_steps": "--max-steps",
}
"""The settings that have an option of their own; the others go through --set."""
LABELS = {
    "output_name": "Name of the LoRA",
    "trigger_word": "Trigger word",
    "optimizer": "Optimizer",
    "learning_rate": "Learning rate",
    "network_dim": "LoRA rank",
    "network_alpha": "LoRA alpha",
    "max_train_epochs": "Epochs",
    "max_train_steps": "Steps at most",
    "save_every_n_epochs": "Save every N epochs",
    "sample_every_n_epochs": "Sample every N epochs",
    "engine": "Trainer",
}
"""The handful that everybody sees, in the form's order; the model stands before them."""
HINTS = {
    "output_name": "Its files are called this",
    "trigger_word": "A word that every caption must have",
    "network_dim": "More rank: more detail, larger files",
    "network_alpha": "How strongly the LoRA counts, against its rank",
    "max_train_epochs": "How often every image is shown, repeats apart",
    "max_train_steps": "The run ends after so many steps",
    "save_every_n_epochs": "A LoRA and a state to go on from, each time",
    "sample_every_n_epochs": "Pictures while it trains; none where empty",
}
"""What is said of a field, where the table's words are too short for somebody who sees it first."""
GROUPS: dict[str, tuple[str, ...]] = {
    "Length and saves": ("target_steps", "save_state_every_n_epochs", "keep_last_states", "save_precision", "seed"),
    "Dataset and captions": (
        "dataset_config", "sample_prompts", "allow_missing_captions", "caption_with", "caption_prefix",
        "caption_suffix", "caption_model_path",
    ),
    "The LoRA": ("network_module", "network_args", "prodigy_d_coef", "prodigy_safeguard_warmup"),
    "Memory and speed": (
        "dit_precision", "gradient_checkpointing", "blocks_to_swap", "attention", "compile", "data_loader_workers",
        "gpus", "auto_retry", "on_bad_loss",
    ),
    "Folders": ("output_dir", "logging_dir"),
}  # fmt: skip
FILES, CACHING, OTHERS = "The model's files", "Caching", "Others"
CACHES = ("text_encoder_", "latent_", "run_", "disable_cudnn", "enable_fp8", "extra_cache")
ON_OFF = (("1", "on"), ("0", "off"))
SWITCHED = {"true": "on"}
MAY_HOLD_A_KEY = ("extra_train_args", "extra_cache_args")
"""What goes to the trainer as it was typed: no command line may have it, for every user of a machine reads those."""
NOT_HERE = frozenset({"show_timesteps"})
"""It trains nothing, and what it shows is for a terminal."""


@dataclass(frozen=True)
class Field:
    """A setting as the form asks for it. `choices` are (value, words); `default` says what holds where it is empty."""

    name: str
    label: str
    help: str
    default: str
    choices: tuple[tuple[str, str], ...] = ()
    kind: Literal["text", "number"] = "text"

    @property
    def planned(self) -> str:
        """What a list of choices says where nothing is chosen."""
        words = dict(self.choices).get(self.default, self.default)
        return f"{words} (planned)" if words in dict(self.choices).values() else words

    @property
    def variable(self) -> str:
        """Its name in the settings' table."""
        return self.name.upper()


@dataclass(frozen=True)
class Group:
    """Settings that are shown together, under a heading."""

    title: str
    fields: tuple[Field, ...]


def main_fields() -> tuple[Field, ...]:
    """Return the handful of fields that everybody sees."""
    known = _fields()
    return tuple(known[name] for name in LABELS)


def more_fields() -> tuple[Group, ...]:
    """Return every other setting of a training, by group."""
    known = {name: one for name, one in _fields().items() if name not in LABELS and name != "model"}
    found: dict[str, list[Field]] = {title: [] for title in (*GROUPS, FILES, CACHING, OTHERS)}
    for name, one in known.items():
        found[_group_of(name)].append(one)
    return tuple(Group(title, tuple(fields)) for title, fields in found.items() if fields)


def values_of(given: object, root: Path) -> dict[str, str]:
    """Return what was typed into the form: settings of a training with a value; paths are full, inside `root`.

    Raises:
        RequestError: it holds something else, or a path that leads out of the workspace.
    """
    if not isinstance(given, Mapping):
        raise RequestError("The page sent something that can't be read. Load it again.")
    allowed = {variable.lower() for variable in of_group("job")} - NOT_HERE
    values: dict[str, str] = {}
    for name, value in given.items():
        if name not in allowed:
            raise RequestError(f'There is no setting "{str(name)[:60]}" of a training.')
        if not isinstance(value, str) or len(value) > MOST_CHARACTERS or not value.isprintable():
            raise RequestError(
                f"{name.upper()} must be one line of at most {MOST_CHARACTERS} characters, without control characters."
            )
        if value.strip():
            values[name] = value.strip()
    return {name: _inside(name, value, root) if _is_path(name) else value for name, value in values.items()}


def train_words(values: Mapping[str, str], *more: str) -> list[str]:
    """Return the arguments of `musabi train` for these values, `more` behind them."""
    words = [f"{NAMED[name]}={values[name]}" for name in NAMED if name in values]
    words += [f"--set={name}={value}" for name, value in values.items() if name not in NAMED]
    return ["train", *words, *more]


def command(values: Mapping[str, str]) -> str:
    """Return the command to paste into a shell."""
    return shlex.join(["musabi", *train_words(values)])


def _fields() -> dict[str, Field]:
    found = {}
    for group, variable, default, what in table():
        name = variable.lower()
        if group == "job" and name not in NOT_HERE:
            choices, kind = _kind(Settings.model_fields[name].annotation)
            label = LABELS.get(name, variable)
            words = HINTS.get(name) or _sentence(what, choices)
            found[name] = Field(name, label, words, SWITCHED.get(default, default), choices, kind)
    return found


def _sentence(what: str, choices: tuple[tuple[str, str], ...]) -> str:
    """Return the words with a capital, unless the first is a value that can be chosen."""
    first = what.replace(",", " ").split(" ")[0]
    return what if first in dict(choices) else what[:1].upper() + what[1:]


def _kind(annotation: Any) -> tuple[tuple[tuple[str, str], ...], Literal["text", "number"]]:  # noqa: ANN401 - a type
    """Return what can be chosen of a type, and whether it is a number."""
    kind = annotation
    while get_origin(kind) in (Union, types.UnionType, Annotated):
        kind = next(part for part in get_args(kind) if part is not type(None))
    if get_origin(kind) is Literal:
        return tuple((str(one), str(one)) for one in get_args(kind)), "text"
    if kind is bool:
        return ON_OFF, "text"
    return (), "number" if kind in (int, float) else "text"


def _group_of(name: str) -> str:
    for title, names in GROUPS.items():
        if name in names:
            return title
    if name.endswith("_path"):
        return FILES
    return CACHING if name.startswith(CACHES) else OTHERS


def _is_path(name: str) -> bool:
    return Settings.model_fields[name].annotation in (Path, Path | None)


def _inside(name: str, value: str, root: Path) -> str:
    """Return a path in full; relative ones are seen from the workspace."""
    try:
        path = Path(os.path.normpath(root / value))
        whole = path.resolve().is_relative_to(root.resolve()) and path.is_relative_to(root)
    except (OSError, RuntimeError, ValueError):
        whole = False
    if not whole:
        raise RequestError(
            f"{name.upper()} must lie inside {root}. For a place elsewhere, set the variable and start in a terminal."
        )
    return str(path)
