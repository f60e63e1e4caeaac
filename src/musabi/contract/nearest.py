"""The name that was probably meant."""

from collections.abc import Iterable
from difflib import get_close_matches

_SURE, _LIKELY = 0.8, 0.6


def nearest(name: str, names: Iterable[str]) -> str | None:
    """Return the one of `names` that `name` is most like, or None where none is.

    A slip of the keys wins over a name that has the same words in it, that over one that is only alike.
    """
    known = list(names)
    words = set(_words(name))
    holding = sorted((other for other in known if words and words <= set(_words(other))), key=len)
    close = get_close_matches(name, known, n=1, cutoff=_SURE)
    likely = get_close_matches(name, known, n=1, cutoff=_LIKELY)
    found: list[str] = [*close, *holding[:1], *likely]
    return found[0] if found else None


def _words(name: str) -> list[str]:
    return [word for word in name.lower().replace("-", "_").split("_") if word]
