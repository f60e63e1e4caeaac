"""The trigger word in a caption: first in it, once; or nowhere."""

import re


def with_trigger(caption: str, word: str) -> str:
    """Return the caption with the word and a comma before it, where it does not begin with the word.

    The word counts where nothing of a longer one follows: "ohwx" does not begin "ohwxman, a photo". One that begins
    with it already keeps its words; another spelling in upper and lower case becomes the word's own, since text
    encoders tell them apart.
    """
    text = caption.lstrip("\ufeff").strip()
    if begins := re.match(re.escape(word) + r"(?!\w)", text, re.IGNORECASE):
        return caption if begins[0] == word else f"{word}{text[begins.end() :]}\n"
    text = text.lstrip(", ")
    return f"{word}, {text}\n" if text else f"{word}\n"


def has_trigger(caption: str, word: str) -> bool:
    """Tell whether the word stands anywhere in the caption, spelled as it is, not within a longer word."""
    return re.search(rf"(?<!\w){re.escape(word)}(?!\w)", caption) is not None


def without_trigger(caption: str, word: str) -> str:
    """Return the caption without the word, however it is spelled in upper and lower case.

    The comma that set it apart goes with it: "ohwx, a photo" becomes "a photo", "a man, ohwx, in a park" becomes
    "a man, in a park".
    """
    anywhere = re.compile(rf"(?P<before>,?\s*)(?<!\w){re.escape(word)}(?!\w)(?P<after>\s*,)?", re.IGNORECASE)
    return "\n".join(_cut(line, anywhere) for line in caption.split("\n"))


def _cut(line: str, anywhere: re.Pattern[str]) -> str:
    def comma(found: re.Match[str]) -> str:
        return "," if found["after"] or found["before"].startswith(",") else ""

    cut = anywhere.sub(comma, line)
    return line if cut == line else cut.strip(", ")
