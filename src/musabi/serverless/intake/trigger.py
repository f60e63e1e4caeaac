"""Puts the trigger word first in every caption, once, however often it is asked to."""

from pathlib import Path

from musabi.dataset.trigger import with_trigger
from musabi.whole import write_text


def put_trigger_everywhere(folder: Path, word: str) -> int:
    """Let every caption (.txt, UTF-8) of a folder begin with the word; return how many were changed."""
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
