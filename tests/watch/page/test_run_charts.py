import json
import math
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from musabi.job.record import RunState, own_process
from musabi.pod.places import PodPlaces
from musabi.settings import load
from musabi.watch.page.app import make_app
from musabi.watch.page.run_charts import charts_part, newest_part
from musabi.watch.page.runs import RUNS
from musabi.watch.page.scene import Scene

Rows = Iterable[tuple[str, int, float]]


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    environ = {"WORKSPACE": str(tmp_path), "MUSABI_STATE_DIR": str(tmp_path / "state")}
    return Scene(load(environ), PodPlaces(tmp_path / "state"), {}, key="a-key-of-the-page", login=False)


@pytest.fixture
def trained(world: Any, write_events: Callable[..., Path], training_rows: Callable[..., Rows]) -> Any:
    """A finished run of ten epochs of 27 steps, with a checkpoint every second epoch."""
    write_events(world.logs / "a", training_rows(10, 27))
    stems = [f"ohwx_v1-{epoch:06d}" for epoch in (2, 4, 6, 8)] + ["ohwx_v1"]
    world.record(files=[world.add_checkpoint(stem, 60 + 54 * number) for number, stem in enumerate(stems, 1)])
    return world


@pytest.fixture
def ask(scene: Scene) -> Callable[..., list[dict[str, Any]]]:
    """Asks for curves over HTTP as run_charts.js does."""
    client = TestClient(make_app(scene, (RUNS,)), base_url="http://127.0.0.1")

    def asked(ids: object = ("run-1",), **query: Any) -> list[dict[str, Any]]:
        given = {name: one if isinstance(one, str) else json.dumps(one) for name, one in query.items()}
        answer = client.get("/curves", params={"runs": json.dumps(ids), **given})
        assert answer.status_code == 200, answer.text
        return list(answer.json()["runs"])

    return asked


def held(run: dict[str, Any]) -> dict[str, Any]:
    triple = {name: [run[name][key] for key in ("cuts", "count", "width")] for name in ("loss", "rate")}
    more = {"tag": run["loss"]["tag"], "weight": run["weight"], "files": run["files"]}
    return {run["id"]: triple | more | {"epochs": len(run["epochs"]["epoch"])}}


def test_a_run_has_its_loss_rate_epochs_and_marks(trained: Any, ask: Callable[..., Any]) -> None:
    (run,) = ask()
    assert (run["name"], run["state"], run["per_epoch"]) == ("ohwx_v1", "done", 27)
    assert run["loss"]["step"] == list(range(1, 271))
    assert run["loss"]["tag"] == "loss/current"
    assert run["rate"]["title"].startswith("Learning rate (Prodigy's own")
    assert max(run["rate"]["low"]) < 1e-3  # d times lr, not the 1.0 that Prodigy is given
    assert run["epochs"]["epoch"] == list(range(1, 11))
    assert [mark["label"] for mark in run["marks"]] == ["Epoch 2", "Epoch 4", "Epoch 6", "Epoch 8", "Final"]
    assert [mark["step"] for mark in run["marks"][:2]] == [54, 108]
    assert run["words"][-1].startswith("Loss is a weak guide")


def test_with_nothing_new_next_to_nothing_is_sent(trained: Any, ask: Callable[..., Any]) -> None:
    (run,) = ask()
    (again,) = ask(have=held(run))
    assert again["loss"]["step"] == [] and again["loss"]["from"] == 270
    assert "marks" not in again and "epochs" not in again
    assert len(json.dumps(again)) < 1000


def test_new_points_alone_are_sent_while_a_run_goes_on(
    scene: Scene, world: Any, write_events: Callable[..., Path], ask: Callable[..., Any]
) -> None:
    pid, started = own_process()
    world.record(state=RunState.RUNNING, ended=None, pid=pid, pid_started=started)

    def rows(first: int, last: int) -> Rows:
        return [row for n in range(first, last) for row in (("loss/current", n, 0.5), ("lr/unet", n, 1e-4))]

    path = write_events(world.logs / "a", rows(1, 51))
    (run,) = ask()
    before = newest_part(scene, {"id": "run-1"})
    assert newest_part(scene, {"id": "run-1"}) == before
    assert f'value="{run["version"]}"' in before
    more = write_events(world.root / "b", rows(51, 56))
    with path.open("ab") as file:
        file.write(more.read_bytes())
    assert newest_part(scene, {}) != before
    (fresh,) = ask(have=held(run))
    assert fresh["loss"]["step"] == fresh["rate"]["step"] == [51, 52, 53, 54, 55]
    assert fresh["loss"]["from"] == 50


def test_another_smoothing_is_sent_whole(trained: Any, ask: Callable[..., Any]) -> None:
    (run,) = ask()
    (other,) = ask(have=held(run), weight="0.5")
    assert other["weight"] == 0.5 and len(other["loss"]["smooth"]) == 270
    (none,) = ask(weight="0")
    assert none["loss"]["smooth"] == none["loss"]["low"]
    assert ask(weight="7")[0]["weight"] < 1 and ask(weight="nan")[0]["weight"] < 1


def test_a_range_is_sent_alone(trained: Any, ask: Callable[..., Any]) -> None:
    (run,) = ask(range={"run-1": [100, 110]})
    assert run["loss"]["step"] == list(range(99, 112))
    assert set(run) == {"id", "weight", "loss", "rate"}


def test_a_loss_that_is_no_number_is_null_and_said(
    scene: Scene, world: Any, write_events: Callable[..., Path], ask: Callable[..., Any]
) -> None:
    values = [0.5 if step < 200 else math.nan for step in range(1, 271)]
    write_events(world.logs / "a", [("loss/current", step, value) for step, value in enumerate(values, 1)])
    (run,) = ask()
    assert run["loss"]["low"][198] == 0.5 and run["loss"]["low"][199] is None
    assert run["words"][0].startswith("The loss was not a number at step 200.")


def test_odd_questions_are_answered_with_the_curves(trained: Any, ask: Callable[..., Any]) -> None:
    questions: list[dict[str, Any]] = [
        {"have": "{"}, {"have": "[]"}, {"have": {"run-1": 7}}, {"have": {"run-1": {"loss": [1, -2, "x"]}}},
        {"range": {"run-1": ["a", 2]}}, {"range": {"run-1": [9, 3]}}, {"weight": "much"},
        {"have": "[" * 20_000},
    ]  # fmt: skip
    for query in questions:
        assert "loss" in ask(**query)[0], query


def test_runs_that_are_not_there_are_left_out(trained: Any, scene: Scene, ask: Callable[..., Any]) -> None:
    assert ask(["../run-1", "nothing", 7, "\0"]) == []
    assert ask("run-1") == []
    html = charts_part(scene, ["run-1", "nothing", '"><script>'])
    assert 'data-runs="[&#34;run-1&#34;]"' in html and "<script>" not in html


def test_without_any_number_it_is_said_why(world: Any, scene: Scene, ask: Callable[..., Any]) -> None:
    (run,) = ask()
    assert "loss" not in run and run["words"] == []


def test_a_poll_costs_little(trained: Any, scene: Scene, ask: Callable[..., Any]) -> None:
    ask()
    begun = time.process_time()
    for _ in range(20):
        newest_part(scene, {"id": "run-1"})
    assert (time.process_time() - begun) / 20 < 0.01
