"""A run's progress, read on at every look."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from musabi.watch.status import Progress


def test_threads_that_look_at_once_count_each_event_once(tmp_path: Path) -> None:
    events = tmp_path / "events.jsonl"
    events.write_text("".join(f'{{"phase":"train","step":{step},"loss":0.5}}\n' for step in range(2_000)))
    progress = Progress(events)
    with ThreadPoolExecutor(8) as pool:
        for _ in pool.map(lambda _: progress.read_more(), range(8)):
            pass
    assert [step for step, _ in progress.losses] == list(range(2_000))
