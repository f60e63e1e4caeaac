"""Which state a training goes on from, and what is cleared away before."""

import os
import zipfile
from pathlib import Path

from musabi.engines.diffusion_pipe.states import State, finished_models, newest_state, prepare, prune


def state(training: Path, step: int, *, whole: bool = True, latest: bool = True) -> Path:
    folder = training / f"global_step{step}"
    folder.mkdir(parents=True)
    for name in ("layer_00-model_states.pt", "mp_rank_00_model_states.pt"):
        with zipfile.ZipFile(folder / name, "w") as archive:
            archive.writestr("data", "x" * 100)
    if not whole:
        file = folder / "mp_rank_00_model_states.pt"
        file.write_bytes(file.read_bytes()[:-30])
    if latest:
        (training / "latest").write_text(folder.name)
    return folder


def test_the_newest_whole_state_is_chosen(tmp_path: Path) -> None:
    older, newer = tmp_path / "20260901_10-00-00", tmp_path / "20260901_11-00-00"
    state(older, 500)
    state(newer, 100)
    state(newer, 20)
    state(newer, 120, whole=False, latest=False)
    assert newest_state(tmp_path) == State(newer, 100)


def test_a_training_that_saved_no_state_yet_does_not_hide_the_one_before(tmp_path: Path) -> None:
    older, newer = tmp_path / "20260901_10-00-00", tmp_path / "20260901_11-00-00"
    state(older, 40)
    newer.mkdir()
    assert newest_state(tmp_path) == State(older, 40)
    assert newest_state(tmp_path / "nothing") is None


def test_states_of_a_bad_loss_are_passed_over(tmp_path: Path) -> None:
    training = tmp_path / "20260901_10-00-00"
    state(training, 40)
    state(training, 80)
    assert newest_state(tmp_path, before=60) == State(training, 40)


def test_a_state_without_its_main_file_is_not_whole(tmp_path: Path) -> None:
    training = tmp_path / "20260901_10-00-00"
    (state(training, 40) / "mp_rank_00_model_states.pt").unlink()
    assert newest_state(tmp_path) is None


def test_preparing_points_at_the_state_and_clears_what_is_half_written(tmp_path: Path) -> None:
    training = tmp_path / "20260901_10-00-00"
    state(training, 40)
    state(training, 80, whole=False)
    (training / "epoch3" / "tmp").mkdir(parents=True)
    (training / "epoch2").mkdir()
    (training / "save_quit").touch()
    prepare(State(training, 40))
    assert (training / "latest").read_text() == "global_step40"
    assert sorted(path.name for path in training.iterdir()) == ["epoch2", "global_step40", "latest"]


def test_old_states_go_and_the_one_being_written_stays(tmp_path: Path) -> None:
    training = tmp_path / "20260901_10-00-00"
    for step in (10, 20, 30):
        state(training, step)
    state(training, 40, whole=False, latest=False)
    prune(training)
    assert sorted(path.name for path in training.glob("global_step*")) == [
        "global_step20",
        "global_step30",
        "global_step40",
    ]


def test_without_a_latest_nothing_is_removed(tmp_path: Path) -> None:
    training = tmp_path / "20260901_10-00-00"
    for step in (10, 20, 30):
        state(training, step, latest=False)
    prune(training)
    assert len(list(training.glob("global_step*"))) == 3


def test_loras_come_in_the_order_of_their_saving_also_where_the_clock_is_coarse(tmp_path: Path) -> None:
    for name, made in (("epoch10", 5), ("epoch2", 5), ("epoch9", 5), ("step500", 9)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "lora.safetensors").write_bytes(b"x")
        os.utime(tmp_path / name, (made, made))
    assert [path.name for path in finished_models(tmp_path)] == ["epoch2", "epoch9", "epoch10", "step500"]


def test_a_lora_counts_as_finished_once_its_tmp_folder_is_gone(tmp_path: Path) -> None:
    for name in ("epoch1", "epoch2", "step30", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "lora.safetensors").write_bytes(b"x")
    (tmp_path / "epoch2" / "tmp").mkdir()
    assert {path.name for path in finished_models(tmp_path)} == {"epoch1", "step30"}
