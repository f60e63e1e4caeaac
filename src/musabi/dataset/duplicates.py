"""Images that are there twice: the same file, or pictures that look the same."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from musabi.dataset.decoding import Looked
from musabi.dataset.finding import Finding, count

ALIKE_BITS = 4
"""Bits of 64 in which two pictures differ at most that are taken for the same: another size, another
quality, a slight change. Different photos differ in 20 to 40."""
FEW = 256
"""Up to so many hashes are compared one by one, without loading numpy."""
GROUPS_NAMED = 10

Group = tuple[Path, ...]


def same_files(seen: Mapping[Path, Looked]) -> tuple[Group, ...]:
    """Return the groups of images that are the same to the byte."""
    groups: dict[str, list[Path]] = {}
    for image, looked in seen.items():
        if looked.sha256:
            groups.setdefault(looked.sha256, []).append(image)
    return tuple(tuple(group) for group in groups.values() if len(group) > 1)


def alike(seen: Mapping[Path, Looked], most: int = ALIKE_BITS) -> tuple[Group, ...]:
    """Return the groups of images that look alike, of files that are the same to the byte only the first.

    Each is within `most` bits of another of its group.
    """
    by_hash: dict[int, list[Path]] = {}
    files: set[str] = set()
    for image, looked in seen.items():
        if looked.dhash is not None and looked.sha256 not in files:
            files.add(looked.sha256)
            by_hash.setdefault(looked.dhash, []).append(image)
    hashes = list(by_hash)
    chains = (chains_of_few if len(hashes) <= FEW else chains_of_many)(hashes, most)
    found = [tuple(image for place in chain for image in by_hash[hashes[place]]) for chain in chains]
    return tuple(group for group in found if len(group) > 1)


def chains_of_few(hashes: Sequence[int], most: int) -> list[list[int]]:
    """Return the places of hashes of 64 bits in groups, each within `most` bits of another of its group.

    From one hash on, all that are near are taken from those left, then all near to these, until none is.
    """
    left = list(range(len(hashes)))
    chains = []
    while left:
        chain = [left.pop(0)]
        for one in chain:
            near = [other for other in left if (hashes[one] ^ hashes[other]).bit_count() <= most]
            chain += near
            left = [other for other in left if other not in near] if near else left
        chains.append(sorted(chain))
    return chains


def chains_of_many(hashes: Sequence[int], most: int) -> list[list[int]]:
    """Return the same as `chains_of_few`, each hash compared with all that are left in one go."""
    import numpy as np

    left, values = np.arange(len(hashes)), np.array(hashes, dtype=np.uint64)
    rest = values
    chains = []
    while len(left):
        chain = [int(left[0])]
        left, rest = left[1:], rest[1:]
        for one in chain:
            near = np.bitwise_count(rest ^ values[one]) <= most
            if near.any():
                chain += left[near].tolist()
                left, rest = left[~near], rest[~near]
        chains.append(sorted(chain))
    return chains


def duplicate_findings(config: Path, same: Sequence[Group], near: Sequence[Group]) -> Iterable[Finding]:
    """Yield what to say of images that are there more than once."""
    if same:
        extra = sum(len(group) - 1 for group in same)
        yield Finding(
            "warning",
            f"{count(extra, 'image is', 'images are')} there more than once, the same to the byte: "
            f"{_listed(same, ' = ')}. Remove the copies, or these pictures weigh more than the others.",
            config,
        )
    if near:
        yield Finding(
            "note",
            f"{count(len(near), 'group')} of images that look alike: {_listed(near, ' ~ ')}. "
            "Look at them with musabi check --html sheet.html, and keep the best of each.",
            config,
        )


def _listed(groups: Sequence[Group], between: str) -> str:
    shown = "; ".join(
        between.join(path.name for path in group[:GROUPS_NAMED]) for group in groups[:GROUPS_NAMED]
    )
    more = len(groups) - GROUPS_NAMED
    return shown + (f" and {more} more" if more > 0 else "")
