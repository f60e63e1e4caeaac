"""The log on a run's page: its end as it comes, bars as they stand, secrets out of it, the whole of it to save."""

from typing import Any

from musabi.watch.page.run_log import LINES, TAIL_BYTES, log_part, tail
from small.run_page import browser_at, scene_at


def test_the_last_lines_are_shown_and_new_ones_follow(world: Any) -> None:
    world.run.log_file.write_text("".join(f"line {number}\n" for number in range(1000)))
    scene = scene_at(world.root)
    before = log_part(scene, {"id": "run-1"})
    assert (
        "line 999" in before and f"line {1000 - LINES}\n" in before and f"line {999 - LINES}\n" not in before
    )
    with world.run.log_file.open("a") as file:
        file.write("the newest\n")
    assert "the newest" in log_part(scene, {"id": "run-1"})


def test_of_a_bar_only_its_last_state_is_shown(tmp_path: Any) -> None:
    log = tmp_path / "log.txt"
    log.write_text("begin\n\x1b[32msteps: 1%\rsteps: 50%\rsteps: 99%\x1b[0m\r\nend\x07\n")
    assert tail(log) == ["begin", "steps: 99%", "end"]


def test_progress_that_the_embedded_trainer_writes_as_json_is_shown_in_words(tmp_path: Any) -> None:
    log = tmp_path / "log.txt"
    log.write_text(
        '{"phase": "train", "step": 241, "steps": 1800, "epoch": 41, "epochs": 300, "loss": 2.05, "lr": 0.01}\n'
        '{"phase": "train", "step": 240, "file": "/ws/output/a.safetensors", "kind": "checkpoint"}\n'
        '{"phase": cut off\n'
    )
    assert tail(log) == [
        "step 241 of 1,800, epoch 41 of 300, loss 2.0500",
        "checkpoint: /ws/output/a.safetensors",
        '{"phase": cut off',
    ]


def test_a_long_log_is_read_from_its_end_only(tmp_path: Any) -> None:
    log = tmp_path / "log.txt"
    log.write_bytes(b"\xff" * TAIL_BYTES + b"\nlast\n")
    assert tail(log) == ["last"]
    assert tail(tmp_path / "none.txt") == []


def test_what_the_runner_said_stands_above_it(world: Any) -> None:
    world.run.events_file.write_text('{"phase":"run","t":1760000000,"message":"Trying again with <less>."}\n')
    html = log_part(scene_at(world.root), {"id": "run-1"})
    assert "Trying again with &lt;less&gt;." in html and "08:53:20 UTC" in html


def test_the_whole_log_is_saved_without_secrets(world: Any) -> None:
    world.run.log_file.write_text("first\nused hf_ofthismachine at https://me:word@example.com/x\rlast\n")
    answer = browser_at(world.root, HF_TOKEN="hf_ofthismachine").get("/run-log?id=run-1")
    assert answer.text == "first\nused *** at https://***@example.com/x\nlast\n"
    assert answer.headers["content-disposition"] == 'attachment; filename="run-1.log.txt"'
    assert (
        "hf_ofthismachine"
        not in browser_at(world.root, HF_TOKEN="hf_ofthismachine").get("/run?id=run-1").text
    )


def test_a_run_without_a_log_says_so(world: Any) -> None:
    assert browser_at(world.root).get("/run-log?id=run-1").status_code == 404
