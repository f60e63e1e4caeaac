"""Puts the trigger word first in every caption, once, however often it is asked to."""

import re
from pathlib import Path

from musabi.whole import write_text


def put_trigger_everywhere(folder: Path, word: str) -> int:
    """Let every caption (.txt, UTF-8) of a folder begin with the word; return how many were changed.

    A caption that begins with it already keeps its words; another spelling in upper and lower case becomes the
    word's own, since text encoders tell them apart.
    """
    word = word.strip(", \t\n")
    if not word:
        return 0
    changed = 0
    for path in sorted(folder.glob("*.txt")):
        text = path.read_text(encoding="utf-8")
        if (new := with_trigger(text, word)) != text:
            write_text(path, new, sync=False)
            changed += 1
    return changed


def with_trigger(caption: str, word: str) -> str:
    """Return the caption with the word and a comma before it, where it does not begin with the word.

    The word counts where nothing of a longer one follows: "ohwx" does not begin "ohwxman, a photo".
    """
    text = caption.lstrip("\ufeff").strip()
    if begins := re.match(re.escape(word) + r"(?!\w)", text, re.IGNORECASE):
        return caption if begins[0] == word else f"{word}{text[begins.end() :]}\n"
    text = text.lstrip(", ")
    return f"{word}, {text}\n" if text else f"{word}\n"
