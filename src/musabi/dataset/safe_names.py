"""Names of files from elsewhere, made fit for every disk, shell, trainer and browser."""

import contextlib
import re
import unicodedata

MOST_BYTES = 120
"""Leaves room for endings such as `_1024x1024_zi_te.safetensors` within the 255 bytes of a name (ext4)."""

# Not allowed on Windows, or a pattern to the trainer's glob.
_FORBIDDEN = re.compile(r'[\\/:*?"<>|\[\]]')
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)


def safe_stem(stem: str) -> str:
    """Return a stem that any filesystem takes and no program mistakes: Unicode letters stay, in NFC.

    Never empty, no path separators, control or direction characters, no dot, dash or space at either end.
    """
    text = unicodedata.normalize("NFC", stem)
    text = "".join(letter if letter.isprintable() else "_" for letter in text)
    text = _FORBIDDEN.sub("_", text).strip(" .").lstrip("-~")
    text = _cut(text, MOST_BYTES).strip(" .")
    if _RESERVED.fullmatch(text):
        text = f"_{text}"
    return text or "file"


def zip_name(name: str, says_utf8: bool) -> str:
    """Return a zip member's name as its maker meant it, with / between its parts.

    Python reads a name without the UTF-8 flag as code page 437, yet many programs write UTF-8 without it.
    """
    if not says_utf8 and not name.isascii():
        with contextlib.suppress(UnicodeError):
            name = name.encode("cp437").decode("utf-8")
    return name.replace("\\", "/")


def escapes(name: str) -> bool:
    """Tell whether a member's name points out of the folder that it is unpacked into."""
    return name.startswith("/") or re.match(r"[A-Za-z]:", name) is not None or ".." in name.split("/")


def _cut(text: str, most: int) -> str:
    return text.encode("utf-8")[:most].decode("utf-8", errors="ignore")
