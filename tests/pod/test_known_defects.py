"""Ten defects of other pod templates for musubi-tuner, each with the test that would catch it here.

Most are caught where the code stands; the table names those tests, and the rest follow below it.
"""

import ast
import re
from pathlib import Path

import pytest

from musabi.job.schedule import schedule
from musabi.pod.bootstrap.wheels import choose_wheel
from musabi.recipes import make_job
from musabi.settings import Settings, load

TESTS = Path(__file__).parents[1]
SOURCE = TESTS.parent / "src" / "musabi"
DEFECTS = {
    "Jupyter starts only after every download": (
        "pod/boot/test_order.py",
        "test_jupyter_answers_before_the_bootstrap_has_ended_and_stays_when_it_fails",
    ),
    "a failed download ends PID 1 and the container restarts for ever": (
        "pod/boot/test_order.py",
        "test_jupyter_answers_before_the_bootstrap_has_ended_and_stays_when_it_fails",
    ),
    "one marker on the volume vouches for what is gone with the container": (
        "pod/bootstrap/test_bootstrap.py",
        "test_a_new_container_on_the_volume_rebuilds_only_its_own",
    ),
    "the marker outlives a change of what it vouches for": (
        "pod/bootstrap/test_clone.py",
        "test_another_ref_replaces_a_clean_checkout",
    ),
    "the default Python has no flash-attn wheel": (
        "pod/test_known_defects.py",
        "test_the_defaults_have_a_flash_attn_wheel",
    ),
    "a bare uv run undoes torch's pin": (
        "pod/test_known_defects.py",
        "test_nothing_is_started_through_a_bare_uv_run",
    ),
    "the entrypoint drops SSH": (
        "pod/boot/test_login.py",
        "test_ssh_with_the_key_logs_in_with_the_environment_in_the_workspace",
    ),
    "a password is baked into the image": (
        "image/test_build.py",
        "test_the_image_sets_no_token_and_nothing_that_its_own_settings_refuse",
    ),
    "the token is on a command line": (
        "pod/boot/test_supervision.py",
        "test_no_secret_is_on_a_command_line_or_in_a_log",
    ),
    "HF_HUB_ENABLE_HF_TRANSFER=1 without hf_transfer is fatal": (
        "engines/musubi/test_plans.py",
        "test_hf_transfer_reaches_the_trainer_only_where_it_imports",
    ),
    "the save interval is longer than the run": (
        "job/test_schedule.py",
        "test_a_save_interval_longer_than_the_run_is_shortened_and_said",
    ),
    "sampling can't be switched off and states fill the disk": (
        "pod/test_known_defects.py",
        "test_by_default_a_run_saves_on_its_way_samples_nothing_and_keeps_few_states",
    ),
    "musubi-tuner is cloned without a pin": (
        "pod/test_known_defects.py",
        "test_musubi_tuner_is_pinned_to_a_release",
    ),
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_the_test_that_catches_a_known_defect_is_there(defect: str) -> None:
    file, name = DEFECTS[defect]
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_the_defaults_have_a_flash_attn_wheel() -> None:
    defaults = Settings()
    wheel = choose_wheel(defaults.musubi_python, defaults.musubi_torch_version, defaults.musubi_cuda_extra)
    assert wheel is not None and wheel.sha256 is not None


def test_nothing_is_started_through_a_bare_uv_run() -> None:
    command = re.compile(r"""["']uv["'],\s*["']run["']|\buv run\b""")
    texts = [*SOURCE.rglob("*.py"), *TESTS.parent.glob("*.sh"), *TESTS.parent.glob("scripts/**/*.sh")]
    assert [path.name for path in texts if command.search(path.read_text(encoding="utf-8"))] == []


@pytest.mark.parametrize("optimizer", ["prodigy", "adamw8bit"])
@pytest.mark.parametrize("batches", [5, 54, 500])
def test_by_default_a_run_saves_on_its_way_samples_nothing_and_keeps_few_states(
    optimizer: str, batches: int
) -> None:
    job = make_job(load({}), optimizer)  # type: ignore[arg-type]
    timing, _ = schedule(job, batches)
    assert timing.save_every <= timing.epochs / 2 or timing.epochs == 1
    assert timing.sample_every is None
    assert job.keep_last_states == 2


def test_musubi_tuner_is_pinned_to_a_release() -> None:
    assert re.fullmatch(r"v\d+\.\d+\.\d+", Settings().musubi_ref)
