"""The view of the pod: what it shows of each state, what it starts, and that strangers' texts stay texts."""

import json
import os
import re
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from musabi.errors import RequestError
from musabi.job.events import Event
from musabi.job.record import RunState
from musabi.settings import load
from musabi.watch.next_step import STEPS
from musabi.watch.page import pod_disk
from musabi.watch.page.pod import POD, fetching
from musabi.watch.page.pod_disk import Disk, Filling, with_quota
from musabi.watch.page.pod_next import WORDS
from musabi.watch.page.pod_verbs import VERBS
from musabi.watch.page.scene import Scene
from small.page import KEY, Browser
from small.standing import HOSTILE, NOT_OURS, Standing


@pytest.fixture
def pod(tmp_path: Path) -> Standing:
    return Standing(tmp_path)


def scene_of(pod: Standing, **environ: str) -> Scene:
    known = pod.environ | {"PATH": os.environ["PATH"]} | environ
    return Scene(load(known), pod.places, known, KEY, login=False)


def page(scene: Scene) -> str:
    answer = Browser(scene, (POD,)).get("/pod")
    assert answer.status_code == 200 and "can't be shown" not in answer.text
    return str(answer.text)


def part(scene: Scene, name: str) -> str:
    """A part as words, its tags taken out."""
    return " ".join(re.sub(r"<[^>]*>", " ", POD.parts[name](scene, {})).split())


def soon(true: Callable[[], bool]) -> None:
    """Wait until it is true."""
    until = time.monotonic() + 10
    while not true():
        assert time.monotonic() < until, "it did not come"
        time.sleep(0.05)


def test_a_machine_where_nothing_happened_yet_says_what_to_do(pod: Standing) -> None:
    shown = page(scene_of(pod))
    for text in (
        "Set the workspace up first",
        "Nothing was started yet",
        "No GPU answers",
        "This is not a Runpod pod",
    ):
        assert text in shown, text
    assert 'data-verb="pod-stop"' not in shown


def test_everything_at_once_is_shown(pod: Standing) -> None:
    pod.everything()
    shown = page(scene_of(pod, RUNPOD_POD_ID="pod1", PRICE_PER_HOUR="1.69"))
    for text in (
        "NVIDIA H100", "KEEP_LAST_STATES=1", "in the way", "could not be cloned", "7.3 GB of 21 GB, 7 min 11 s left",
        "step 40 of 100", "loss 0.5250", "nothing was done here for 30 minutes", "at $1.69 an hour (PRICE_PER_HOUR)",
        "Keep the pod", "never by itself",
    ):  # fmt: skip
        assert text in shown, text


def test_the_boot_reports_worst_rows_stand_first_and_clean_ones_are_folded(pod: Standing) -> None:
    pod.report(("a", "ok", "fine"), ("b", "note", "look"), ("c", "unknown", "hm"), ("d", "blocks", "no"))
    made = POD.parts["report"](scene_of(pod), {})
    places = [made.index(text) for text in ("> no", "> look", "> hm", "<details", "> fine")]
    assert places == sorted(places) and "1 row without a remark" in made


def test_what_is_fetched_at_once_is_summed_up_and_takes_as_long_as_the_longest(pod: Standing) -> None:
    pod.bootstrap(
        "running",
        vae={"state": "running", "bytes": 1_000_000_000, "total": 2_000_000_000, "eta_s": 9.0},
        dit={"state": "running", "bytes": 3_000_000_000, "total": 18_000_000_000, "eta_s": 61.0},
        clone={"state": "done"},
    )
    assert "In all 4.0 GB of 20 GB, 1 min 01 s left" in part(scene_of(pod), "bootstrap")
    assert fetching({"stages": {"vae": {"state": "running", "bytes": 1, "total": 2, "eta_s": 3}}}) is None


def test_several_runs_go_on_and_only_new_lines_are_read(pod: Standing) -> None:
    first = pod.run(RunState.RUNNING, name="first", done=3, created=time.time() - 9)
    pod.run(RunState.RUNNING, name="second", done=7)
    pod.run(RunState.DONE, name="over", created=time.time() - 60)
    scene = scene_of(pod)
    shown = part(scene, "runs")
    assert "step 3 of 100" in shown and "step 7 of 100" in shown and "over" not in shown
    with first.events_file.open("r+") as file:
        file.write("x" * 20)  # what was read is not read again
        file.seek(0, 2)
        file.write(Event("train", step=4, steps=100, loss=0.25).to_json() + "\n")
    scene.memory["pod.look"].made = float("-inf")
    shown = part(scene, "runs")
    assert "step 4 of 100" in shown and "first 1.5000, now 0.2500" in shown


def test_a_run_of_another_pod_on_the_volume_is_said_to_be(pod: Standing) -> None:
    run = pod.run(RunState.RUNNING, container="other 11111111-2222 pid:[1]")
    run.beat()
    assert "in another pod" in part(scene_of(pod), "runs")


@pytest.mark.parametrize("state", [RunState.FAILED, RunState.STOPPED, RunState.DONE])
def test_where_no_run_goes_on_the_newest_says_how_it_ended(pod: Standing, state: RunState) -> None:
    pod.run(state, message="It said why. And what to do.")
    shown = part(scene_of(pod), "runs")
    assert shown.startswith("Newest run demo") and "It said why." in shown


def test_every_next_step_has_words_on_the_page() -> None:
    assert set(WORDS) == {name for name, _, _ in STEPS}


def test_a_stop_is_counted_down_by_its_moment_and_can_be_called_off(pod: Standing) -> None:
    scene = scene_of(pod, IDLE_MINUTES="30")
    assert part(scene, "stop") == ""
    pod.announce("delete", "unused for 30 minutes", 60)
    first = POD.parts["stop"](scene, {})
    assert "deleted, with everything on its disks" in first and 'data-verb="pod-keep"' in first
    time.sleep(1.1)
    assert POD.parts["stop"](scene, {}) == first, "a button that is replaced every second can't be pressed"
    guard = json.loads(pod.places.guard.read_text())  # who announced it is gone, so nobody else calls it off
    pod.places.guard.write_text(json.dumps(guard | {"pid": 2**22 - 7}))
    answer = Browser(scene, (POD,)).change("/do", {"verb": "pod-keep", "hours": "2"})
    assert answer.status_code == 200 and answer.json()["message"] == "The pod is kept."
    assert part(scene, "stop") == ""


@pytest.mark.parametrize(
    ("name", "given", "words"),
    [
        ("pod-keep", {"hours": "4"}, ["pod", "keep", "--hours", "4"]),
        ("pod-keep", {}, ["pod", "keep", "--hours", "1"]),
        ("pod-stop", {"force": False}, ["pod", "stop", "--yes"]),
        ("pod-stop", {"force": True}, ["pod", "stop", "--yes", "--force"]),
        ("pod-delete", {}, ["pod", "delete", "--yes"]),
        ("pod-bootstrap", {}, ["bootstrap"]),
    ],
)
def test_a_verb_is_the_command_lines(
    pod: Standing, name: str, given: dict[str, Any], words: list[str]
) -> None:
    assert VERBS[name].argv(scene_of(pod, RUNPOD_POD_ID="pod1"), given) == words


def test_hours_that_the_page_does_not_offer_are_refused(pod: Standing) -> None:
    for hours in ("-1", "1; rm", "--set", 3, None, ["1"]):
        with pytest.raises(RequestError, match="hours"):
            VERBS["pod-keep"].argv(scene_of(pod), {"hours": hours})


@pytest.mark.parametrize("name", ["pod-stop", "pod-delete"])
def test_a_pod_is_not_ended_under_a_run_unless_that_is_ticked(pod: Standing, name: str) -> None:
    with pytest.raises(RequestError, match="not a Runpod pod"):
        VERBS[name].argv(scene_of(pod), {})
    run = pod.run(RunState.RUNNING)
    scene = scene_of(pod, RUNPOD_POD_ID="pod1")
    for given in ({}, {"force": "yes"}, {"force": False}):
        with pytest.raises(RequestError, match=f"{run.path.name} still runs"):
            VERBS[name].argv(scene, given)
    assert VERBS[name].argv(scene, {"force": True})[-1] == "--force"


def test_hostile_text_stays_text(pod: Standing) -> None:
    pod.report((HOSTILE, HOSTILE, HOSTILE), more=(HOSTILE,))
    pod.services(**{HOSTILE: (HOSTILE, HOSTILE)})
    pod.bootstrap("failed", **{HOSTILE: {"state": "failed", "message": HOSTILE}})
    pod.run(RunState.FAILED, name=HOSTILE, message=HOSTILE)
    (pod.space.root / HOSTILE.replace("/", "")).mkdir()
    (pod.space.root / HOSTILE.replace("/", "") / "f").write_bytes(b"x" * 9000)
    pod.announce("delete", HOSTILE, 60)
    shown = page(scene_of(pod))
    assert shown.count("&lt;script&gt;") > 5
    for forbidden in ("<script>", "<img src=x", 'onerror=alert(1)>"', " style="):
        assert forbidden not in shown


@pytest.mark.parametrize("text", NOT_OURS)
def test_files_that_hold_something_else_are_passed_over(pod: Standing, text: str) -> None:
    pod.hold_everywhere(text)
    assert "What to do next" in page(scene_of(pod))


def test_money_follows_the_price_and_the_rest_of_the_run(pod: Standing) -> None:
    scene = scene_of(pod, PRICE_PER_HOUR="3.60")
    scene.memory["pod.started"] = time.time() - 7200
    pod.run(RunState.RUNNING, steps=1040, done=40)  # 1.2 s a step: 1,200 s
    shown = part(scene, "cost")
    assert "$7.20 so far, at $3.60 an hour" in shown and "Rest of the run 20 min, $1.20" in shown


def test_when_the_pod_stops_by_itself_is_said(pod: Standing) -> None:
    rules = {"MAX_HOURS": "900", "IDLE_MINUTES": "45000", "ON_FINISH": "delete"}
    shown = part(scene_of(pod, RUNPOD_POD_ID="pod1", **rules), "cost")
    assert "left (MAX_HOURS)" in shown and "unless it is used (IDLE_MINUTES)" in shown
    assert "it is deleted (ON_FINISH)" in shown and "never by itself" not in shown
    assert "Not known. RUNPOD_API_KEY is not set" in shown
    assert "No guard runs" in part(scene_of(pod, RUNPOD_POD_ID="pod1", **rules), "stop")


def test_what_fills_the_workspace_is_counted(pod: Standing) -> None:
    for name, size in (("models", 3_000_000), ("output", 1_000_000)):
        (pod.space.root / name).mkdir(exist_ok=True)
        (pod.space.root / name / "a").write_bytes(os.urandom(size))
    (pod.space.root / "elsewhere").symlink_to("/usr")
    scene = scene_of(pod)
    soon(lambda: "What fills the workspace: 4.0 MB" in part(scene, "disk"))
    shown = part(scene, "disk")
    assert shown.index("models/ 3.0 MB") < shown.index("output/ 1.0 MB") and "free" in shown
    assert "elsewhere/" not in shown


def test_a_network_volumes_room_is_its_size_less_what_lies_on_it() -> None:
    volume = Disk("Network volume", "/workspace", None, None, None)
    counted = Filling((("models/", 95_000_000_000),), 95_000_000_000, whole=True)
    assert with_quota(volume, None, counted) is volume
    found = with_quota(volume, 100.0, counted)
    assert (found.used, found.total, found.free) == (95 * 10**9, 100 * 10**9, 5 * 10**9) and found.nearly_full
    assert with_quota(volume, 100.0, replace(counted, whole=False)).used is None


def test_a_network_volumes_own_df_is_not_believed(tmp_path: Path) -> None:
    (tmp_path / "ws").mkdir()
    (tmp_path / "proc" / "self").mkdir(parents=True)
    lines = ["1 0 0:1 / / rw - overlay overlay rw", f"2 1 0:2 / {tmp_path}/ws rw - fuse mfs#a:9421 rw"]
    (tmp_path / "proc" / "self" / "mountinfo").write_text("\n".join(lines))
    known = pod_disk.disks(tmp_path / "ws", Path("/dev/shm"), tmp_path / "proc")  # noqa: S108
    assert [disk.title for disk in known] == ["Network volume", "Container's disk"]
    assert known[0].total is None and known[1].total
