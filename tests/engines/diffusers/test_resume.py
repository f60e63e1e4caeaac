"""Resuming: a run that was interrupted ends as one that was not."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from musabi.engines.diffusers.statefiles import read_progress
from musabi.errors import RequestError

Run = Callable[..., Any]

WHOLE = ("--max_train_epochs", 4, "--save_every_n_epochs", 1, "--save_state_every_n_epochs", 1)


def contents(folder: Path) -> dict[str, dict[str, Any]]:
    from safetensors.torch import load_file

    return {path.name: dict(load_file(path)) for path in folder.glob("*.safetensors")}


def assert_same(first: Path, second: Path) -> None:
    import torch

    one, other = contents(first), contents(second)
    assert one.keys() == other.keys()
    for name, tensors in one.items():
        assert all(torch.equal(tensor, other[name][key]) for key, tensor in tensors.items()), name


@pytest.mark.parametrize("optimizer", ["prodigy", "adamw"])
def test_a_resumed_run_ends_with_the_tensors_of_an_uninterrupted_one(
    run_training: Run, tmp_path: Path, optimizer: str
) -> None:
    whole = run_training(tmp_path / "whole", *WHOLE, optimizer=optimizer)
    shutil.copytree(tmp_path / "whole/lora-000002-state", tmp_path / "rest/lora-000002-state")
    rest = run_training(
        tmp_path / "rest", *WHOLE, "--resume", tmp_path / "rest/lora-000002-state", optimizer=optimizer
    )
    for name in ("lora-000001.safetensors", "lora-000002.safetensors"):
        (tmp_path / "whole" / name).unlink()
    assert_same(tmp_path / "whole", tmp_path / "rest")
    told = [(e.step, e.epoch, e.loss, e.lr) for e in whole.steps]
    assert [(e.step, e.epoch, e.loss, e.lr) for e in rest.steps] == told[6:]


def test_a_run_that_was_stopped_within_an_epoch_goes_on_at_its_step(
    run_training: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from musabi.engines.diffusers import trainer

    run_training(tmp_path / "whole", *WHOLE)
    real = trainer.Trainer._tell

    def stop_after_four(self: Any, *args: Any) -> None:
        real(self, *args)
        if self.progress.step == 4:
            self._stop.signal = 15

    with monkeypatch.context() as patch:
        patch.setattr(trainer.Trainer, "_tell", stop_after_four)
        stopped = run_training(tmp_path / "rest", *WHOLE)
    assert stopped.code == 143
    state = tmp_path / "rest/lora-step00000004-state"
    assert [event.file for event in stopped.of("state")][-1] == str(state)
    assert (read_progress(state) or {})["epoch"] == 1
    rest = run_training(tmp_path / "rest", *WHOLE, "--resume", state)
    assert [event.step for event in rest.steps] == list(range(5, 13))
    assert_same(tmp_path / "whole", tmp_path / "rest")


def test_a_resumed_run_logs_on_at_its_step_with_the_whole_runs_rate(
    run_training: Run, tmp_path: Path
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def rates(folder: Path) -> list[tuple[int, float]]:
        (file,) = folder.rglob("events.out.tfevents.*")
        read = EventAccumulator(str(file))
        read.Reload()
        return [(point.step, point.value) for point in read.Scalars("lr/unet")]

    run_training(tmp_path / "whole", *WHOLE, "--logging_dir", tmp_path / "a", optimizer="adamw")
    state = tmp_path / "whole/lora-000003-state"
    run_training(
        tmp_path / "rest", *WHOLE, "--logging_dir", tmp_path / "b", "--resume", state, optimizer="adamw"
    )
    assert rates(tmp_path / "b") == rates(tmp_path / "a")[9:]


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (("--network_dim", "8"), "NETWORK_DIM was 4 and is now 8"),
        (("--seed", "43"), "SEED was 42 and is now 43"),
        (
            ("--optimizer_type", "AdamW", "--optimizer_args", "eps=1e-8"),
            "optimizer was Prodigy and is now AdamW",
        ),
    ],
)
def test_a_state_of_another_run_is_refused(
    run_training: Run, tmp_path: Path, flags: tuple[str, ...], named: str
) -> None:
    run_training(tmp_path, "--max_train_steps", 1, "--save_state_every_n_epochs", 1)
    with pytest.raises(RequestError, match=named):
        run_training(tmp_path, "--max_train_steps", 2, "--resume", tmp_path / "lora-state", *flags)


@pytest.mark.parametrize(
    "part", ["model.safetensors", "optimizer.bin", "scheduler.bin", "random_states_0.pkl"]
)
def test_a_state_that_lost_a_file_is_not_whole(run_training: Run, tmp_path: Path, part: str) -> None:
    run_training(tmp_path, "--max_train_steps", 1, "--save_state_every_n_epochs", 1)
    state = tmp_path / "lora-state"
    assert read_progress(state) is not None
    with (state / part).open("r+b") as file:
        file.truncate((state / part).stat().st_size - 1)
    assert read_progress(state) is None
    with pytest.raises(RequestError, match="holds no whole state"):
        run_training(tmp_path, "--max_train_steps", 2, "--resume", state)


def test_what_a_killed_run_left_half_written_is_removed_and_nothing_else(
    run_training: Run, tmp_path: Path
) -> None:
    (tmp_path / ".lora-000002-state.x1.part").mkdir()
    (tmp_path / ".lora.safetensors.x2.part").write_bytes(b"half")
    (tmp_path / ".lora2.safetensors.x3.part").write_bytes(b"another run's")
    run_training(tmp_path, "--max_train_steps", 1)
    assert sorted(path.name for path in tmp_path.glob(".*")) == [".lora2.safetensors.x3.part"]
