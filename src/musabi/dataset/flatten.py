"""Puts files from many folders into one, under names that clash with nothing, an image with its captions."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

from musabi.dataset.incoming import Notes, Raw, kind_of
from musabi.dataset.safe_names import safe_stem


@dataclass(frozen=True)
class Group:
    """Files that share a stem, and the one they will share: (file, suffix) pairs, captions first.

    An image that appears before its caption would be trained on without it, had a kill come in between.
    """

    stem: str
    files: tuple[tuple[Raw, str], ...]


def flatten(files: Iterable[Raw], notes: Notes) -> list[Group]:
    """Return the groups in the order of their names. The same files give the same names every time.

    The first of several files of one name keeps it; the others get their folder's name before it. Of
    two images in one folder that differ by the extension alone, the second gets a name and copies of the
    captions of its own, since the trainer would let them share a cache file. Captions without an image
    beside them go with the one image of their stem, in any spelling, that lies elsewhere.
    """
    together: dict[tuple[str, str], list[Raw]] = {}
    for raw in sorted(files, key=lambda raw: raw.name):
        together.setdefault(raw.key, []).append(raw)
    _join_captions(together)
    taken: set[str] = set()
    groups = []
    for (folder, stem), members in together.items():
        for pair in _pairs(members, notes):
            name = _free_name(PurePosixPath(folder), stem, taken)
            taken.add(name.casefold())
            groups.append(Group(name, pair))
    return groups


def _join_captions(together: dict[tuple[str, str], list[Raw]]) -> None:
    """Move captions from groups that have nothing else to the one group with an image of their stem."""
    pictured: dict[str, list[list[Raw]]] = {}
    alone = []
    for key, members in together.items():
        if all(kind_of(raw.name) == "caption" for raw in members):
            alone.append(key)
        else:
            pictured.setdefault(key[1].casefold(), []).append(members)
    for key in alone:
        found = pictured.get(key[1].casefold(), [])
        has = {raw.suffix for raw in found[0]} if len(found) == 1 else set()
        if len(found) == 1 and not any(raw.suffix in has for raw in together[key]):
            found[0] += together.pop(key)


def _pairs(members: list[Raw], notes: Notes) -> list[tuple[tuple[Raw, str], ...]]:
    """Split files of one stem into sets of at most one image, one video of a kind and one caption of a kind."""
    captions: dict[str, Raw] = {}
    rest: list[Raw] = []
    for raw in members:
        if kind_of(raw.name) != "caption":
            rest.append(raw)
        elif raw.suffix in captions:
            notes.add(raw.name, f"is a second caption for {captions[raw.suffix].name}")
        else:
            captions[raw.suffix] = raw
    texts = tuple((raw, suffix) for suffix, raw in captions.items())
    sets: list[dict[str, Raw]] = []
    for raw in rest:
        kind = "image" if kind_of(raw.name) == "image" else raw.suffix
        free = next((one for one in sets if kind not in one), None)
        if free is None:
            sets.append({kind: raw})
        else:
            free[kind] = raw
    return [(*texts, *((raw, raw.suffix) for raw in one.values())) for one in sets] or [texts]


def _free_name(folder: PurePosixPath, stem: str, taken: set[str]) -> str:
    base = safe_stem(stem)
    if base.casefold() in taken and folder.parts:
        base = safe_stem("_".join((*folder.parts, stem)))
    name, number = base, 1
    while name.casefold() in taken:
        number += 1
        name = f"{base}-{number}"
    return name
