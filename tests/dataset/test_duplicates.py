import itertools
import random
import time
from pathlib import Path

from musabi.dataset.decoding import Looked
from musabi.dataset.duplicates import alike, chains_of_few, chains_of_many, same_files


def plainly(hashes: list[int], most: int) -> set[frozenset[int]]:
    """Return the groups, found by joining sets until nothing changes."""
    groups = [{place} for place in range(len(hashes))]
    for low, one in enumerate(hashes):
        for high in range(low + 1, len(hashes)):
            first = next(group for group in groups if low in group)
            second = next(group for group in groups if high in group)
            if first is not second and (one ^ hashes[high]).bit_count() <= most:
                first |= second
                groups.remove(second)
    return {frozenset(group) for group in groups}


def test_hashes_are_grouped_the_same_way_in_python_in_numpy_and_by_hand() -> None:
    rng = random.Random(4)  # noqa: S311 - no secrets
    hashes = [rng.getrandbits(64) for _ in range(60)]
    for _ in range(2):
        hashes += [one ^ (1 << rng.randrange(64)) ^ (1 << rng.randrange(64)) for one in hashes[::2]]
    expected = plainly(hashes, 3)
    assert 30 < len(expected) < len(hashes)
    for way in (chains_of_few, chains_of_many):
        found = way(hashes, 3)
        assert {frozenset(chain) for chain in found} == expected
        assert found == sorted(found)


def test_ten_thousand_frames_of_one_scene_are_grouped_at_once() -> None:
    bits = itertools.combinations(range(64), 3)
    hashes = [sum(1 << bit for bit in three) for three in itertools.islice(bits, 10_000)]
    begun = time.monotonic()
    assert [len(chain) for chain in chains_of_many(hashes, 4)] == [10_000]
    assert time.monotonic() - begun < 5


def seen(**hashes: tuple[str, int | None]) -> dict[Path, Looked]:
    return {Path(name): Looked(sha256=content, dhash=dhash) for name, (content, dhash) in hashes.items()}


def names(groups: tuple[tuple[Path, ...], ...]) -> list[list[str]]:
    return [[path.name for path in group] for group in groups]


def test_files_that_are_the_same_form_a_group_and_count_once_among_those_alike() -> None:
    found = seen(a=("1", 0), b=("1", 0), c=("2", 1), d=("3", 2**40 - 1), e=("4", None), f=("5", None))
    assert names(same_files(found)) == [["a", "b"]]
    assert names(alike(found)) == [["a", "c"]]


def test_those_alike_are_joined_through_those_between_them() -> None:
    found = seen(a=("1", 0b1111), b=("2", 0b11111111), c=("3", 0b111111111111), d=("4", 2**63))
    assert names(alike(found)) == [["a", "b", "c"]]


def test_pictures_with_the_same_hash_are_alike_and_those_that_failed_are_not() -> None:
    found = seen(a=("1", 77), b=("2", 77)) | {
        Path("x"): Looked(reason="is cut off"),
        Path("y"): Looked(reason="?"),
    }
    assert names(alike(found)) == [["a", "b"]]
    assert same_files(found) == ()
