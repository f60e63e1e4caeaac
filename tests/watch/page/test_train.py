"""The view that starts trainings. browser/test_journey.py starts, stops and takes up a real one through it."""

import os
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from musabi.job.record import RunState
from musabi.watch.page.train import TRAIN, start_words
from small.model import SMALL
from small.page import Browser, make_scene
from small.standing import HOSTILE, Standing

OS: dict[str, Any] = {name: value for name, value in os.environ.items() if name not in {*SMALL, "HF_HOME"}}
"""What a child of the page needs to start at all."""


class Elements(HTMLParser):
    """Collects labels, fields, and what must not stand in a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.labelled: set[str] = set()
        self.fields: dict[str, str] = {}
        self.styled: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "label":
            self.labelled.add(given["for"])
        if tag in ("input", "select") and given.get("type") != "hidden":
            self.fields[given["id"]] = given.get("aria-describedby", "")
        if tag == "style" or any(name == "style" or name.startswith("on") for name in given):
            self.styled.append(tag)


def test_the_form_offers_every_model_with_what_it_takes(tmp_path: Path) -> None:
    shown = Browser(make_scene(tmp_path, **OS), (TRAIN,)).get("/train").text
    assert "Files must be fetched first" in shown and 'value="z-image" selected' in shown
    assert "Needs 12 GiB of GPU memory." in shown and "apache-2.0" in shown
    assert "Z-Image, 21 GB" in shown


def test_every_field_has_a_label_and_nothing_is_styled_inside_the_page(tmp_path: Path) -> None:
    pod = Standing(tmp_path)
    pod.run(RunState.RUNNING, name=HOSTILE)
    pod.run(RunState.STOPPED, name="two")
    shown = Browser(make_scene(tmp_path, **OS), (TRAIN,)).get("/train").text
    found = Elements(shown)
    assert len(found.fields) > 60 and set(found.fields) <= found.labelled
    assert found.styled == [] and "<img" not in shown
    assert all(f'id="{name}"' in shown for described in found.fields.values() for name in described.split())


def test_what_is_typed_stands_outside_of_what_is_replaced(tmp_path: Path) -> None:
    page = Browser(make_scene(tmp_path), (TRAIN,))
    for part in TRAIN.parts.values():
        made = part(
            page.client.app.state.scene if hasattr(page.client.app, "state") else make_scene(tmp_path), {}
        )
        assert 'name="network_dim"' not in made and 'id="job"' not in made


def test_a_start_is_the_whole_job_of_a_file_that_is_written_first(tmp_path: Path) -> None:
    scene = make_scene(tmp_path)
    given = {"output_name": "robot", "network_dim": "8", "seed": " "}
    file = scene.space.root / "jobs" / "robot.toml"
    assert start_words(scene, {"values": given}) == ["run", str(file), "--detach"]
    assert file.read_text().split("\n")[2:] == [
        'model = "z-image"',
        'output_name = "robot"',
        "network_dim = 8",
        "",
    ]
    assert start_words(scene, {"values": given, "anew": True}) == [
        "run",
        str(file),
        "--overwrite",
        "--detach",
    ]
    assert "--overwrite" not in start_words(scene, {"values": given, "anew": "--all"})


@pytest.mark.parametrize(
    "values",
    [{"output_name": "../../x"}, {"output_name": "-x"}, {"network_dim": "0"}, {"no_such": "1"}, None],
)
def test_a_start_that_cannot_be_right_is_refused_before_a_file_is_written(
    values: Any, tmp_path: Path
) -> None:
    scene = make_scene(tmp_path)
    answer = Browser(scene, (TRAIN,)).change("/do", {"verb": "train-start", "values": values})
    assert answer.status_code == 422 and answer.json()["message"]
    assert not (scene.space.root / "jobs").exists()
