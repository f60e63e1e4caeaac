"""What a check is to look for, besides what the dataset TOML says."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Asked:
    """A person's wishes: captions that may be missing, a word that each must have, steps to aim at.

    `tokenizer` is a folder with the text encoder's tokenizer, where there is one, and `model` the title of the
    model that the dataset is checked for.
    """

    allow_missing_captions: bool = False
    trigger_word: str | None = None
    target_steps: int | None = None
    tokenizer: Path | None = None
    model: str = ""
