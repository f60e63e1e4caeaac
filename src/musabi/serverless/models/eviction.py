"""Which models leave when the disk is short for what is to come: those that were used longest ago."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Kept:
    """A unit of models on the disk: its name, its bytes, and when a job used it last (Unix seconds)."""

    unit: str
    size: int
    used: float


def leaving(kept: Iterable[Kept], held: frozenset[str], need: int, *, exact: bool = True) -> tuple[Kept, ...]:
    """Return what leaves so that `need` more bytes are free: longest unused first, nothing that is `held`.

    Empty where nothing is needed, and where all of it together would not do; with `exact` off all of it leaves
    then, since it is not known how many bytes are free besides.
    """
    chosen: list[Kept] = []
    for one in sorted(kept, key=lambda one: (one.used, one.unit)):
        if need <= 0:
            break
        if one.unit not in held and one.size > 0:
            chosen.append(one)
            need -= one.size
    return tuple(chosen) if need <= 0 or not exact else ()
