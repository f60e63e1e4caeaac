"""Two samples under a divider: which ones, how one gets to others, another run's beside."""

import re
from html import unescape
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from musabi.job.record import RunFolder
from musabi.watch.page.compare import values
from small.run_page import browser_at, fill, scene_at


@pytest.fixture
def full_world(world: Any) -> Any:
    """A run with samples."""
    return fill(world)


def name(epoch: int, prompt: int) -> str:
    return f"ohwx_v1_e{epoch:06d}_{prompt:02d}_20251009091500_42_000.png"


def shown(world: Any, **query: str) -> tuple[str, str]:
    """Return the files of the left and the right one."""
    found = values(scene_at(world.root), query)
    return found["a"].cell.name, found["b"].cell.name


def test_the_first_and_the_last_checkpoint_are_compared_where_nobody_chose(full_world: Any) -> None:
    assert shown(full_world, run="run-1") == (name(0, 0), name(10, 0))


def test_the_two_that_were_asked_for_are_compared(full_world: Any) -> None:
    assert shown(full_world, run="run-1", a=name(4, 1), b=name(2, 1)) == (name(4, 1), name(2, 1))


@pytest.mark.parametrize("asked", ["", "../x.png", "gone.png", "/etc/passwd"])
def test_a_file_that_is_not_there_leaves_the_usual_one(full_world: Any, asked: str) -> None:
    assert shown(full_world, run="run-1", a=asked, b=asked) == (name(0, 0), name(10, 0))


def test_every_choice_leads_to_what_it_says(full_world: Any) -> None:
    scene = scene_at(full_world.root)
    found = values(scene, {"run": "run-1", "a": name(4, 0), "b": name(8, 0)})
    other_prompt = dict(_query(found["prompts"][1].link))
    assert shown(full_world, **other_prompt) == (name(4, 1), name(8, 1))
    earlier = next(one for one in found["moments_a"] if one.label == "Epoch 2")
    assert shown(full_world, **_query(earlier.link)) == (name(2, 0), name(8, 0))
    assert shown(full_world, **_query(found["swapped"])) == (name(8, 0), name(4, 0))
    assert [one.label for one in found["moments_b"] if one.chosen] == ["Epoch 8"]


def test_samples_of_two_runs_are_compared(full_world: Any) -> None:
    record = full_world.run.load()
    other = full_world.add_sample("second_e000006_01_20251009091500_42_000.png", 7)
    newer = {
        "id": "run-2",
        "created": record.created + 9,
        "job": record.job | {"output_name": "second"},
        "files": [other],
    }
    RunFolder(full_world.root / "runs" / "run-2").save(record.model_copy(update=newer))
    found = values(scene_at(full_world.root), {"run": "run-1", "a": name(4, 1), "b": name(8, 1)})
    link = next(one for one in found["runs_b"] if one.label.startswith("second")).link
    assert shown(full_world, **_query(link)) == (name(4, 1), other.path.name)
    both = values(scene_at(full_world.root), _query(link))
    assert {_query(one.link).get("other") for one in both["prompts"] + both["moments_a"]} == {"run-2"}
    page = browser_at(full_world.root).get(f"/{link}").text
    sources = [unescape(source) for source in re.findall(r'src="(sample[^"]+)"', page)]
    assert [_query(source)["id"] for source in sources] == ["run-2", "run-1"]
    assert all(browser_at(full_world.root).get(f"/{source}").status_code == 200 for source in sources)


def test_a_run_without_samples_says_so(world: Any) -> None:
    assert "There is nothing to compare yet" in browser_at(world.root).get("/compare?run=run-1").text


def _query(link: str) -> dict[str, str]:
    return {key: value[0] for key, value in parse_qs(urlsplit(link).query).items()}
