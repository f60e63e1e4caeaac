"""What a page is sent while somebody looks."""

import json
import threading
import time
from collections.abc import Callable, Mapping
from itertools import count
from typing import Any

import anyio
import pytest

from musabi.watch.page import live
from musabi.watch.page.live import LOOK_SECONDS, STREAM_SECONDS, event, hash_of, hashes_of, id_of, stream


def collect(
    parts: Callable[[], Mapping[str, str]], last_id: str = "", looks: int = 1
) -> list[dict[str, str]]:
    """Return the events of a stream that is looked at `looks` times, as a browser reads them."""

    async def read() -> str:
        asked = count()

        async def gone() -> bool:
            return next(asked) >= looks

        return "".join([text async for text in stream(parts, last_id, gone, look_s=0.01)])

    blocks = [block for block in anyio.run(read).split("\n\n") if block]
    return [dict(line.split(": ", 1) for line in block.split("\n")) for block in blocks]


def shown(blocks: list[dict[str, str]]) -> list[tuple[str, str]]:
    found = [json.loads(block["data"]) for block in blocks if "data" in block]
    return [(value["part"], value["html"]) for value in found]


def test_a_browser_that_has_nothing_gets_every_part_and_then_only_what_changed() -> None:
    clock = count()
    blocks = collect(lambda: {"still": "<p>s</p>", "moving": f"<p>{next(clock) // 2}</p>"}, looks=4)
    assert shown(blocks) == [("still", "<p>s</p>"), ("moving", "<p>0</p>"), ("moving", "<p>1</p>")]
    assert "retry" in blocks[0]


def test_a_browser_that_comes_back_goes_on_where_it_was() -> None:
    last = collect(lambda: {"a": "1", "b": "2"})[-1]["id"]
    assert shown(collect(lambda: {"a": "1", "b": "2"}, last)) == []
    assert shown(collect(lambda: {"a": "1", "b": "3", "c": "4"}, last)) == [("b", "3"), ("c", "4")]


def test_a_part_that_goes_back_to_what_it_was_is_sent_again() -> None:
    values = iter("121")
    assert [html for _, html in shown(collect(lambda: {"a": next(values)}, looks=3))] == ["1", "2", "1"]


@pytest.mark.parametrize(
    "last_id",
    ["=", ",,,=,", "report", "report=zzz", "report=" + "a" * 13, "=aaaaaaaaaaaa", "\u00e9=\x00,=", "a=b=c",
     "x" * 9000, "report=AAAAAAAAAAAA"],
    ids=lambda text: repr(text[:20]),
)  # fmt: skip
def test_an_id_that_is_none_of_ours_counts_as_nothing_seen(last_id: str) -> None:
    blocks = collect(lambda: {"report": "1"}, last_id)
    assert shown(blocks) == [("report", "1")]
    assert hashes_of(blocks[-1]["id"]) == {"report": hash_of("1")}


def test_an_id_holds_no_parts_but_the_pages_own() -> None:
    theirs = id_of({f"part{number}": "a" * 12 for number in range(500)})
    (sent,) = [block for block in collect(lambda: {"report": "1"}, theirs) if "data" in block]
    assert hashes_of(sent["id"]) == {"report": hash_of("1")}


def test_an_event_is_one_line_whatever_is_in_it() -> None:
    text = "a\nb\r\nc\rd\u2028e\n\ndata: x\n\nid: taken"
    made = event({"html": text}, "a=b")
    assert made.count("\n") == 3 and "\r" not in made
    assert json.loads(made.split("data: ", 1)[1].rstrip("\n"))["html"] == text


def test_a_name_of_odd_bytes_does_not_end_the_stream() -> None:
    (sent,) = [block for block in collect(lambda: {"report": "b\udce9e.png"}) if "data" in block]
    assert sent["data"].encode("utf-8")
    assert json.loads(sent["data"])["html"] == "b?e.png"


def test_a_stream_ends_by_itself_before_a_proxy_would_end_it() -> None:
    assert STREAM_SECONDS + 2 * LOOK_SECONDS < 100

    async def never() -> bool:
        return False

    async def read() -> float:
        begun = time.monotonic()
        async for _ in stream(lambda: {"a": "1"}, "", never, look_s=0.02, stream_s=0.2):
            pass
        return time.monotonic() - begun

    assert 0.2 <= anyio.run(read) < 2


def test_a_quiet_stream_says_that_it_is_there() -> None:
    blocks = collect(lambda: {"a": "1"}, id_of({"a": hash_of("1")}), looks=3)
    assert sum("" in block for block in blocks) == 3


def test_a_browser_that_has_gone_is_looked_at_no_more() -> None:
    made = count()
    collect(lambda: {"a": str(next(made))}, looks=2)
    assert next(made) == 2


def test_parts_are_made_beside_the_server_and_do_not_hold_it_up(monkeypatch: pytest.MonkeyPatch) -> None:
    where: list[Any] = []

    def parts() -> dict[str, str]:
        where.append(threading.current_thread())
        return {"a": "1"}

    collect(parts)
    assert where and where[0] is not threading.main_thread()
    assert live.AGAIN_MS <= 1000
