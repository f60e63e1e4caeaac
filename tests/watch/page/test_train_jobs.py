"""Job files that the page writes: what was typed, and an earlier run as it was started."""

import stat
from pathlib import Path
from typing import Any

import pytest

from musabi.commands.options import job_file_settings
from musabi.errors import RequestError
from musabi.recipes import make_job
from musabi.settings import load
from musabi.watch.page.train_jobs import OURS, of_run, typed, write_job
from musabi.workspace import Workspace

TYPED = {
    "output_name": "robot é 'x' \"y\"",
    "network_dim": "8",
    "learning_rate": "2e-5",
    "compile": "1",
    "extra_train_args": "--max_grad_norm 0.5",
    "trigger_word": 'a "b" = \\ {c} [d] # é',
    "gpus": "1",
    "blocks_to_swap": "0",
}


@pytest.fixture
def environ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    known = {"WORKSPACE": str(tmp_path / "ws"), "ENGINE": "diffusers", "NETWORK_ALPHA": "3"}
    for name, value in known.items():
        monkeypatch.setenv(name, value)
    return known


def test_a_job_file_holds_what_was_typed_as_the_command_line_reads_it(
    tmp_path: Path, environ: dict[str, str]
) -> None:
    path = write_job(Workspace(tmp_path / "ws"), typed(TYPED, environ))
    assert job_file_settings(path, {}) == load(environ, TYPED)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.parent == tmp_path / "ws" / "jobs" and path.read_text().startswith(OURS)


def test_a_wrong_value_writes_nothing(tmp_path: Path, environ: dict[str, str]) -> None:
    with pytest.raises(RequestError, match="NETWORK_DIM"):
        typed({"network_dim": "many"}, environ)
    assert not (tmp_path / "ws" / "jobs").exists()


@pytest.mark.parametrize(
    "more",
    [
        {},
        {
            "network_dim": "8",
            "latent_batch_size": "3",
            "run_latent_cache": "0",
            "engine": "musubi",
            "gpus": "2",
        },
        {"dit_path": "/elsewhere/dit.safetensors", "extra_train_args": "--x 1", "enable_fp8_llm": "1"},
        {"model": "wan2.1-t2v-1.3b", "engine": "musubi", "max_train_steps": "70", "save_precision": "float"},
    ],
)
def test_an_earlier_run_is_the_same_job_again(
    tmp_path: Path, environ: dict[str, str], more: dict[str, str]
) -> None:
    first = make_job(load(environ, {"output_name": "robot"} | more))
    path = write_job(Workspace(tmp_path / "ws"), of_run(first.model_dump(mode="json"), environ))
    assert make_job(job_file_settings(path, {})) == first


def test_a_run_of_this_environments_own_settings_needs_few_words(environ: dict[str, str]) -> None:
    job = make_job(load(environ, {"output_name": "robot", "network_dim": "8"}))
    assert of_run(job.model_dump(mode="json"), environ) == {
        "model": "z-image",
        "output_name": "robot",
        "network_dim": 8,
    }


@pytest.mark.parametrize("job", [{}, {"model": "z-image"}, {"output_name": "../x"}])
def test_a_record_without_a_whole_job_is_refused_in_words(
    job: dict[str, Any], environ: dict[str, str]
) -> None:
    with pytest.raises(RequestError, match="can't be read"):
        of_run(job, environ)


def test_a_job_file_of_a_persons_own_is_never_replaced(tmp_path: Path, environ: dict[str, str]) -> None:
    space = Workspace(tmp_path / "ws")
    values = typed({"output_name": "robot"}, environ)
    own = write_job(space, values)
    assert write_job(space, values) == own
    own.write_text('model = "z-image"\n')
    second = write_job(space, values)
    assert second.name == "robot-2.toml" and own.read_text() == 'model = "z-image"\n'
    second.unlink()
    second.symlink_to(own)
    assert write_job(space, values).name == "robot-3.toml"
