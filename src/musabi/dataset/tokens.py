"""How many tokens a caption takes: counted with the model's own tokenizer where that is there, else estimated."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LETTERS_A_TOKEN = 6
"""Letters of a word that one token holds at least, nearly always, in English."""
_PIECE = re.compile(r"[a-zA-Z]+|\d|[^\W\d_]|[^\s\w]|_")


@dataclass(frozen=True)
class Counter:
    """Counts the tokens of a text; `exact` says whether that is the text encoder's own count."""

    count: Callable[[str], int]
    exact: bool


def estimate(text: str) -> int:
    """Return about how many tokens `text` takes: one a short word, digit, mark and foreign letter."""
    return sum(-(-len(piece) // LETTERS_A_TOKEN) for piece in _PIECE.findall(text))


def counter(folder: Path | None) -> Counter:
    """Return what counts with the tokenizer in `folder`, where it and the package `tokenizers` are there."""
    tokenizer = _load(folder) if folder is not None else None
    if tokenizer is None:
        return Counter(estimate, exact=False)
    return Counter(lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids), exact=True)


def _load(folder: Path) -> Any:  # noqa: ANN401 - tokenizers has no types
    try:
        from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
    except ImportError:
        return None
    try:
        if (whole := folder / "tokenizer.json").is_file():
            return Tokenizer.from_file(str(whole))
        model = models.BPE.from_file(str(folder / "vocab.json"), str(folder / "merges.txt"))
    except Exception:  # tokenizers raises bare Exceptions on files that are not there or broken
        return None
    # Qwen's own way of cutting a text before its byte-pair encoding (transformers, qwen2 tokenizer).
    cut = Regex(
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
        r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    )
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(cut, behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer
