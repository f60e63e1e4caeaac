"""What becomes of a model's words on their way into a caption file. Pure."""

import re
from dataclasses import dataclass

ATTACHED = ",.;:!?)"
SENTENCE_END = re.compile(r"[.!?][\"')\]]?(?=\s|$)")


@dataclass(frozen=True)
class Wording:
    """What stands around every caption: text before it, text after it, and the word that must be in it."""

    prefix: str = ""
    suffix: str = ""
    trigger: str = ""


def caption_text(said: str, wording: Wording, *, cut: bool = False) -> str:
    """Return the caption for what a model said, on one line, the trigger word in front unless it is in it.

    A text that was `cut` off loses its unfinished last sentence, where a whole one comes before it.
    """
    words = " ".join(said.split())
    if cut:
        words = whole_sentences(words)
    whole = " ".join(part for part in (one_line(wording.prefix), words) if part)
    suffix = one_line(wording.suffix)
    if suffix:
        whole += suffix if suffix[0] in ATTACHED else f" {suffix}"
    trigger = one_line(wording.trigger)
    return whole if not trigger or has_word(whole, trigger) else f"{trigger}, {whole}"


def whole_sentences(text: str) -> str:
    """Return the text up to its last whole sentence, or all of it where it has none."""
    ends = [match.end() for match in SENTENCE_END.finditer(text)]
    return text[: ends[-1]] if ends else text


def has_word(text: str, word: str) -> bool:
    """Tell whether the word stands in the text by itself, in this very spelling: "sks" is not in "asks"."""
    return re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text) is not None


def one_line(text: str) -> str:
    """Return the text with every run of white space as one space."""
    return " ".join(text.split())
