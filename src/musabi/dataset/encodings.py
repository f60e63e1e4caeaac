"""In which encoding a text was saved that is not UTF-8: a guess, good enough to say and to mend."""

import codecs
import re
from collections.abc import Callable
from dataclasses import dataclass

MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""Byte-order marks and what follows them; UTF-32's begins as UTF-16's does and comes first."""


@dataclass(frozen=True)
class Encoding:
    """One that captions come in. `fits` tells whether a text decoded with it looks like its language."""

    codec: str
    name: str
    fits: Callable[[str], bool]


Spans = tuple[tuple[int, int], ...]
_KANA: Spans = ((0x3040, 0x30FF), (0xFF66, 0xFF9F))
_HAN: Spans = ((0x4E00, 0x9FFF),)
_HANGUL: Spans = ((0xAC00, 0xD7A3),)
_MARKS: Spans = ((0x2010, 0x2027), (0x3000, 0x303F), (0xFF00, 0xFFEF))


def _written_in(*spans: tuple[int, int]) -> Callable[[str], bool]:
    """Return what tells whether everything beyond ASCII lies in the spans, and is a good part of the text.

    A French caption read as Chinese has a rare sign here and there between plain letters.
    """

    def fits(text: str) -> bool:
        beyond = [ord(one) for one in text if ord(one) > 0x7F]
        plain = sum(one.isascii() and one.isalpha() for one in text)
        return 2 * len(beyond) >= plain and all(
            any(low <= one <= high for low, high in spans) for one in beyond
        )

    return fits


# The first that decodes without an error and gives a text that looks right is taken, so the strict come first.
ENCODINGS = (
    Encoding(
        "cp932",
        "Shift JIS",
        lambda text: (
            _written_in(*_KANA, *_HAN, *_MARKS)(text) and re.search("[\u3040-\u30ff]", text) is not None
        ),
    ),
    Encoding("euc_kr", "EUC-KR", _written_in(*_HANGUL, *_MARKS)),
    Encoding("gb18030", "GB 18030", _written_in(*_HAN, *_MARKS)),
    Encoding("big5", "Big5", _written_in(*_HAN, *_MARKS)),
    # Accents stand alone, Cyrillic letters in a row, and in the wrong alphabet capitals are everywhere.
    Encoding("cp1251", "Windows-1251", lambda text: re.search("[\u0430-\u044f]{3}", text) is not None),
    Encoding("cp1252", "Windows-1252", lambda text: True),
    Encoding("latin-1", "Latin-1", lambda text: True),
)
_NAMES = {"utf-8-sig": "UTF-8 with a byte-order mark", "utf-16": "UTF-16", "utf-32": "UTF-32"}


def read_text(data: bytes) -> tuple[str, str]:
    """Return the text that `data` holds, without a byte-order mark, and the name of its encoding."""
    for mark, codec in MARKS:
        if data.startswith(mark):
            return data.decode(codec, errors="replace"), _NAMES[codec]
    if bare := _utf16_without_mark(data):
        return bare, "UTF-16"
    try:
        return data.decode("utf-8"), "UTF-8"
    except UnicodeDecodeError:
        pass
    for encoding in ENCODINGS:
        try:
            text = data.decode(encoding.codec)
        except UnicodeDecodeError:
            continue
        if encoding.fits(text):
            return text, encoding.name
    return data.decode("latin-1"), "Latin-1"


def _utf16_without_mark(data: bytes) -> str:
    """Return the text where every other byte is zero, as UTF-16 writes plain English, else ""."""
    if len(data) < 4 or len(data) % 2:
        return ""
    for codec, zeros, letters in (("utf-16-le", data[1::2], data[::2]), ("utf-16-be", data[::2], data[1::2])):
        if zeros.count(0) > 0.8 * len(zeros) and not letters.count(0):
            return data.decode(codec, errors="replace")
    return ""
