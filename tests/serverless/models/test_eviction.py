"""Which models leave a disk that is short."""

from hypothesis import given
from hypothesis import strategies as some

from musabi.serverless.models.eviction import Kept, leaving

OLD, MIDDLE, NEW = Kept("old", 10, 100), Kept("middle", 30, 200), Kept("new", 20, 300)
FREE = frozenset[str]()


def units(*, held: frozenset[str] = FREE, need: int) -> list[str]:
    return [one.unit for one in leaving((NEW, OLD, MIDDLE), held, need)]


def test_those_that_were_used_longest_ago_leave_until_it_is_enough() -> None:
    assert units(need=1) == ["old"]
    assert units(need=10) == ["old"]
    assert units(need=11) == ["old", "middle"]
    assert units(need=60) == ["old", "middle", "new"]


def test_nothing_leaves_that_a_job_uses() -> None:
    assert units(held=frozenset({"old"}), need=5) == ["middle"]


def test_nothing_leaves_for_nothing() -> None:
    assert units(need=0) == []
    assert units(need=61) == []
    assert units(held=frozenset({"middle"}), need=31) == []


def test_where_it_is_not_known_what_is_free_as_much_as_can_leaves() -> None:
    gone = leaving((NEW, OLD, MIDDLE), frozenset({"middle"}), 31, exact=False)
    assert [one.unit for one in gone] == ["old", "new"]


@given(
    some.lists(some.tuples(some.integers(0, 50), some.floats(0, 100)), max_size=8),
    some.integers(0, 200),
    some.integers(0, 255),
)
def test_what_leaves_is_enough_and_no_more_than_the_oldest(
    rows: list[tuple[int, float]], need: int, mask: int
) -> None:
    kept = [Kept(str(number), size, used) for number, (size, used) in enumerate(rows)]
    held = frozenset(str(number) for number in range(8) if mask >> number & 1)
    gone = leaving(kept, held, need)
    assert not held & {one.unit for one in gone}
    if gone:
        assert sum(one.size for one in gone) >= need > sum(one.size for one in gone[:-1])
        newest = max(one.used for one in gone)
        assert all(
            one.used >= newest for one in kept if one.size and one not in gone and one.unit not in held
        )
    else:
        assert need == 0 or sum(one.size for one in kept if one.unit not in held) < need
