import json
import re
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from musabi.job.events import Event
from musabi.job.record import RunFolder, RunRecord, RunState, own_process
from musabi.pod.places import PodPlaces
from musabi.settings import load
from musabi.watch.page import runs
from musabi.watch.page.app import make_app
from musabi.watch.page.run_glance import Glance, glance
from musabi.watch.page.run_records import Records
from musabi.watch.page.runs import RUNS, going, line_of, listed, values
from musabi.watch.page.scene import Scene
from musabi.whole import read_json

CREATED = 1_760_000_000.0


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    environ = {"WORKSPACE": str(tmp_path), "MUSABI_STATE_DIR": str(tmp_path / "state")}
    return Scene(load(environ), PodPlaces(tmp_path / "state"), {}, key="a-key-of-the-page", login=False)


def make(root: Path, number: int, losses: "list[float] | None" = None, **more: Any) -> RunFolder:
    folder = RunFolder(root / "runs" / f"run-{number:03d}")
    folder.path.mkdir(parents=True)
    record = {
        "id": folder.path.name, "state": RunState.DONE, "created": CREATED + number * 60, "ended": CREATED + 6000,
        "job": {"output_name": f"lora_{number}", "model": "z-image", "logging_dir": str(root / "logs")},
        "plan": {"schedule": {"steps": 100, "epochs": 10, "steps_per_epoch": 10}},
    }  # fmt: skip
    folder.save(RunRecord.model_validate(record | more))
    if losses:
        tell(folder, losses)
    return folder


def tell(folder: RunFolder, losses: list[float], first: int = 1) -> None:
    with folder.events_file.open("a") as file:
        for step, loss in enumerate(losses, first):
            file.write(Event("train", t=CREATED + step, step=step, steps=100, loss=loss).to_json() + "\n")


def names(html: str) -> list[str]:
    return re.findall(r'data-run="([^"]+)"', html)


def test_runs_stand_newest_first_with_what_a_person_looks_for(scene: Scene, tmp_path: Path) -> None:
    make(tmp_path, 1, [0.5, 0.25])
    make(tmp_path, 2, [0.9, 0.123456], state=RunState.FAILED)
    html = listed(scene, {})
    assert names(html) == ["run-002", "run-001"]
    for words in ("lora_2", "failed", "Z-Image", "2 of 100", "0.1235", "2025-10-09 08:55 UTC", "polyline"):
        assert words in html
    assert 'href="run?id=run-001"' in html
    assert going(scene, {}) == ""


def test_a_run_that_goes_on_stands_apart_and_follows_its_events(scene: Scene, tmp_path: Path) -> None:
    pid, started = own_process()
    run = make(tmp_path, 1, [0.5] * 10, state=RunState.RUNNING, ended=None, pid=pid, pid_started=started)
    assert "10 of 100" in going(scene, {})
    assert names(listed(scene, {})) == []
    tell(run, [0.4321], first=11)
    html = going(scene, {})
    assert "11 of 100" in html and "0.4321" in html


def test_a_run_whose_runner_is_gone_is_interrupted(scene: Scene, tmp_path: Path) -> None:
    make(tmp_path, 1, state=RunState.RUNNING, ended=None, pid=own_process()[0], pid_started=1.0)
    assert "interrupted" in listed(scene, {})


def test_names_from_files_are_escaped_everywhere(scene: Scene, tmp_path: Path) -> None:
    odd = '"><script>x</script>'
    job = {"output_name": odd, "model": odd}
    make(tmp_path, 1, job=job, resumed_from=odd)
    client = TestClient(make_app(scene, (RUNS,)), base_url="http://127.0.0.1")
    page = client.get("/runs").text
    assert "<script>x" not in page and "&lt;script&gt;x" in page


def test_odd_records_are_no_rows_and_no_error(scene: Scene, tmp_path: Path) -> None:
    make(tmp_path, 1)
    for name, text in (("a", "{"), ("b", "[]"), ("c", '{"id": 7}')):
        (tmp_path / "runs" / name).mkdir()
        (tmp_path / "runs" / name / "record.json").write_text(text)
    (tmp_path / "runs" / "a file").write_text("")
    (tmp_path / "runs" / "link").symlink_to(tmp_path / "runs" / "run-001")
    assert names(listed(scene, {})) == ["run-001"]


def test_a_workspace_without_runs_says_how_to_start_one(scene: Scene) -> None:
    client = TestClient(make_app(scene, (RUNS,)), base_url="http://127.0.0.1")
    page = client.get("/runs")
    assert page.status_code == 200
    assert (
        "There is no run yet" in page.text and 'href="train"' in page.text and "data-charts" not in page.text
    )


def test_those_that_are_chosen_are_drawn_and_else_the_newest_training(scene: Scene, tmp_path: Path) -> None:
    for number in (1, 2, 3):
        make(tmp_path, number)
    make(tmp_path, 4, plan={})

    def drawn(query: dict[str, str]) -> Any:
        found = re.search(r'data-runs="([^"]+)"', values(scene, query)["charts"])
        assert found is not None
        return json.loads(found[1].replace("&#34;", '"'))

    assert drawn({}) == ["run-003"]
    assert drawn({"chosen": "run-002,nothing,run-001"}) == ["run-002", "run-001"]


def test_the_newest_of_very_many_are_listed_and_all_on_request(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "MOST_ROWS", 10)
    for number in range(15):
        make(tmp_path, number)
    html = listed(scene, {})
    assert len(names(html)) == 10 and "Show 5 more" in html
    assert len(names(listed(scene, {"all": "1"}))) == 15


def test_a_record_is_read_again_only_where_it_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [make(tmp_path, number) for number in range(60)]
    records = Records(tmp_path / "runs")
    assert len(records.look()) == 60
    read: list[Path] = []

    def counted(path: Path) -> Any:
        read.append(path)
        return read_json(path)

    monkeypatch.setattr("musabi.watch.page.run_records.read_json", counted)
    begun = time.process_time()
    records.look()
    assert (time.process_time() - begun) < 0.05
    folders[7].save(folders[7].load().model_copy(update={"state": RunState.STOPPED}))
    assert sum(run.record.state is RunState.STOPPED for run in records.look()) == 1
    assert read == [folders[7].record_file]


def test_a_look_at_many_runs_with_nothing_new_costs_little(scene: Scene, tmp_path: Path) -> None:
    for number in range(40):
        make(tmp_path, number, [0.5, 0.4])
    while '<td class="number"></td>' in listed(scene, {}):
        pass  # losses are read a few at a look
    begun = time.process_time()
    for _ in range(5):
        listed(scene, {})
    assert (time.process_time() - begun) / 5 < 0.01


def test_a_long_runs_loss_is_seen_from_places_over_all_of_it(tmp_path: Path) -> None:
    run = make(tmp_path, 1, [1 - step / 16_000 for step in range(8000)])
    begun = time.process_time()
    seen = glance(run.events_file)
    assert time.process_time() - begun < 0.25
    assert seen.step == 8000 and seen.loss == pytest.approx(0.5, abs=0.001)
    assert seen.points[0][0] < 200 and seen.points[-1][0] > 7800
    assert all(loss == pytest.approx(1 - (step - 1) / 16_000, abs=0.001) for step, loss in seen.points)
    assert glance(run.events_file, seen) is seen
    tell(run, [0.125], first=8001)
    again = glance(run.events_file, seen)
    assert (again.loss, again.step) == (0.125, 8001)
    assert again.points is seen.points


def test_a_run_without_losses_has_no_line(tmp_path: Path) -> None:
    run = make(tmp_path, 1)
    assert glance(run.events_file) == Glance()
    run.events_file.write_text(
        '{"phase": "cache", "message": "x"}\nrubbish\n{"phase": "train", "loss": "x"}\n'
    )
    assert glance(run.events_file).loss is None
    assert line_of(Glance(((1.0, 0.5),))) == ""
    assert line_of(Glance(((1.0, 0.5), (2.0, 0.25)))) == "0.0,2.0 120.0,26.0"


def test_what_a_run_said_after_the_last_look_is_shown_when_it_has_ended(scene: Scene, tmp_path: Path) -> None:
    pid, started = own_process()
    run = make(tmp_path, 1, [0.5] * 10, state=RunState.RUNNING, ended=None, pid=pid, pid_started=started)
    assert "0.5000" in going(scene, {})
    tell(run, [0.1234] * 5, first=11)
    run.save(run.load().model_copy(update={"state": RunState.STOPPED, "ended": CREATED + 900}))
    html = listed(scene, {})
    assert "15 of 100" in html and "0.1234" in html


def test_nothing_of_a_deleted_run_stays_in_memory(scene: Scene, tmp_path: Path) -> None:
    gone = make(tmp_path, 1, [0.5, 0.25])
    make(tmp_path, 2, [0.5, 0.25])
    assert names(listed(scene, {})) == ["run-002", "run-001"]
    shutil.rmtree(gone.path)
    assert names(listed(scene, {})) == ["run-002"]
    assert set(scene.memory[runs.GLANCES]) == set(scene.memory[runs.ROWS]) == {"run-002"}
