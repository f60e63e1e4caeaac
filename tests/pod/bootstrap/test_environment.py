"""The trainer's environment: one project that pins torch, its fallback, and the wheels that fit."""

import json
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

from musabi.job.facts import MachineFacts
from musabi.pod.bootstrap import options
from musabi.pod.bootstrap.options import BootstrapOptions
from musabi.pod.bootstrap.stages import environment
from musabi.pod.bootstrap.stages.accelerate import config_text
from musabi.pod.bootstrap.stages.environment import fits_pin, project_text
from musabi.pod.bootstrap.wheels import WHEELS, choose_wheel
from peers.standin_trainer import make_wheel, serving

QUICK = {"skip_model_download": True}


def installed(pod: Any, package: str) -> str:
    code = f"import importlib.metadata as m; print(m.version('{package}'))"
    return subprocess.check_output([pod.options.python, "-c", code], text=True).strip()


def test_the_project_pins_torch_to_one_index_and_takes_the_checkout_without_an_extra() -> None:
    text = project_text("musubi-tuner", Path("/w/musubi-tuner"), "3.12", "2.9.1", "0.24.1", "https://i/cu128")
    values = tomllib.loads(text)
    assert values["project"]["dependencies"] == ["musubi-tuner", "torch==2.9.1", "torchvision==0.24.1"]
    assert values["project"]["requires-python"] == "==3.12.*"
    assert values["tool"]["uv"]["package"] is False
    assert values["tool"]["uv"]["sources"]["musubi-tuner"] == {"path": "/w/musubi-tuner", "editable": True}
    assert values["tool"]["uv"]["sources"]["torch"] == {"index": "pytorch"}
    assert values["tool"]["uv"]["index"] == [{"name": "pytorch", "url": "https://i/cu128", "explicit": True}]


def test_the_index_follows_the_cuda_extra() -> None:
    assert BootstrapOptions(musubi_cuda_extra="cu130").torch_index == "https://download.pytorch.org/whl/cu130"


@pytest.mark.parametrize(
    ("found", "pinned", "fits"),
    [
        ("2.9.1+cu128", "2.9.1", True),
        ("2.9.1", "2.9.1", True),
        ("2.13.0+cpu", "2.13.0+cpu", True),
        ("2.9.10", "2.9.1", False),
        (None, "2.9.1", False),
    ],
)
def test_a_pin_is_met_whatever_the_build(found: str | None, pinned: str, fits: bool) -> None:
    assert fits_pin(found, pinned) is fits


@pytest.mark.parametrize(
    ("python", "torch", "cuda", "file"),
    [
        ("3.12", "2.9.1", "cu128", "cu12torch2.9cxx11abiTRUE-cp312"),
        ("3.12", "2.9.1", "cu126", "cu12torch2.9cxx11abiTRUE-cp312"),
        ("3.12", "2.9.0", "cu130", "cu13torch2.9cxx11abiTRUE-cp312"),
        ("3.10", "2.9.1", "cu128", "cu128torch2.9-cp310"),
        ("3.11", "2.9.1", "cu128", "cu128torch2.9-cp311"),
        ("3.11", "2.9.1", "cu124", None),
        ("3.12", "2.10.0", "cu128", None),
        ("3.12", "2.13.0", "cpu", None),
    ],
)
def test_a_wheel_is_chosen_by_python_torch_and_cuda(
    python: str, torch: str, cuda: str, file: str | None
) -> None:
    wheel = choose_wheel(python, torch, cuda)
    assert (wheel is None) if file is None else (wheel is not None and file in wheel.url)


def test_no_wheel_for_another_processor() -> None:
    assert choose_wheel("3.12", "2.9.1", "cu128", "aarch64") is None


def test_the_official_wheel_is_checked_by_its_hash() -> None:
    assert (
        WHEELS[0].requirement.endswith("#sha256=" + str(WHEELS[0].sha256))
        and len(str(WHEELS[0].sha256)) == 64
    )


def test_accelerate_is_set_up_for_the_gpus_that_are_there() -> None:
    one = config_text(MachineFacts(gpus=(80_000_000_000,)))
    two = config_text(MachineFacts(gpus=(1, 1)))
    none = config_text(MachineFacts())
    assert "distributed_type: 'NO'" in one and "num_processes: 1" in one and "use_cpu: false" in one
    assert "distributed_type: MULTI_GPU" in two and "num_processes: 2" in two
    assert "use_cpu: true" in none


def test_torch_comes_from_its_own_index_by_uv_sync(pod: Any) -> None:
    assert pod.run(**QUICK) == 0
    assert installed(pod, "torch") == "2.9.1+cu128" and installed(pod, "standin-dependency") == "1.0"
    assert "uv sync" in pod.log and "uv pip instead" not in pod.message("environment")
    project = tomllib.loads((pod.options.project / "pyproject.toml").read_text())
    assert project["tool"]["uv"]["index"][0]["url"].endswith("/whl/cu128")


def test_an_index_out_of_reach_is_replaced_by_uv_pip_and_said(
    pod: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(options, "PYTORCH_INDEX", "http://127.0.0.1:9")
    environment = pod.tampered(UV_FIND_LINKS=find_links(tmp_path), UV_INDEX="")
    assert pod.run(environment=environment, **QUICK) == 0, pod.last_words
    assert "uv pip instead" in pod.message("environment")
    assert installed(pod, "torch") == "2.9.1+cu128"


def test_an_index_that_is_down_for_a_moment_is_asked_again(pod: Any, tmp_path: Path) -> None:
    with serving(tmp_path / "indexes", failures=1) as url:
        flaky = pod.tampered(UV_INDEX=f"pytorch={url}/torch", UV_CACHE_DIR=str(tmp_path / "empty-cache"))
        assert pod.run(environment=flaky, **QUICK) == 0, pod.last_words
    assert "installing again" in pod.message("environment")
    assert "uv pip instead" not in pod.message("environment")


def test_a_disk_that_may_not_suffice_is_said_before(pod: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "CUDA_BYTES", 1e18)
    assert pod.run(**QUICK) == 0
    assert "environment takes about 1000000000 GB" in pod.message("environment")


def test_the_cpu_goes_straight_to_uv_pip_with_the_versions_asked_for(pod: Any, tmp_path: Path) -> None:
    links = tmp_path / "links"
    make_wheel(links, "torch", "2.13.0+cpu", "torch")
    make_wheel(links, "torchvision", "0.28.0", "torchvision")
    environment = pod.tampered(UV_FIND_LINKS=str(links), UV_INDEX="")
    changes = {
        "musubi_cuda_extra": "cpu",
        "musubi_torch_version": "2.13.0",
        "musubi_torchvision_version": "0.28.0",
    }
    assert pod.run(environment=environment, **changes, **QUICK) == 0, pod.last_words
    assert installed(pod, "torch") == "2.13.0+cpu"
    assert "uv sync" not in pod.log and "CPU" in pod.message("environment")


def test_python_path_reaches_the_trainers_python(pod: Any, tmp_path: Path) -> None:
    (tmp_path / "extra").mkdir()
    (tmp_path / "extra" / "sitecustomize.py").write_text("import sys; print('HELLO FROM PYTHONPATH')\n")
    pod.run(environment=pod.tampered(PYTHONPATH=str(tmp_path / "extra")), **QUICK)
    assert "HELLO FROM PYTHONPATH" in pod.log


def test_an_interpreter_that_is_not_there_and_cannot_be_fetched_is_named(pod: Any) -> None:
    assert pod.run(musubi_python="3.99", **QUICK) == 3
    assert "Python 3.99 is not on this machine" in pod.last_words and "MUSUBI_PYTHON" in pod.last_words
    assert pod.states["packages"] == pod.states["verify"] == "blocked"
    assert not pod.options.venv.exists()


def test_versions_that_nobody_has_are_named(pod: Any) -> None:
    assert pod.run(musubi_torch_version="7.7.7", **QUICK) == 3
    assert "could not be installed" in pod.last_words and "7.7.7" in pod.last_words


def test_a_torch_that_does_not_import_fails_the_verification(pod: Any, tmp_path: Path) -> None:
    broken = "raise RuntimeError('operator torchvision::nms does not exist')\n"
    make_wheel(
        tmp_path / "indexes" / "torch" / "torchvision", "torchvision", "0.24.1+cu128", "torchvision", broken
    )
    environment = pod.tampered(UV_CACHE_DIR=str(tmp_path / "cache-of-its-own"))
    assert pod.run(environment=environment, **QUICK) == 3
    assert "torchvision is installed but does not import" in pod.last_words and "nms" in pod.last_words
    assert not (pod.options.venv / "musabi-trainer.json").exists()


def test_a_changed_pin_changes_the_environment_in_place(pod: Any, tmp_path: Path) -> None:
    pod.run(**QUICK)
    make_wheel(tmp_path / "indexes" / "torch" / "torch", "torch", "2.9.2+cu128", "torch")
    assert pod.run(musubi_torch_version="2.9.2", environment=pod.tampered(UV_NO_CACHE="1"), **QUICK) == 0
    assert installed(pod, "torch") == "2.9.2+cu128" and installed(pod, "prodigyopt") == "1.0"


def test_an_installation_that_was_killed_half_way_is_made_from_scratch(pod: Any) -> None:
    pod.run(**QUICK)
    site = next(pod.options.venv.glob("lib/python*/site-packages"))
    (site / "torch" / "__init__.py").unlink()
    values = json.loads((pod.options.state_dir / "bootstrap.json").read_text())
    del values["done"]["environment"]
    (pod.options.state_dir / "bootstrap.json").write_text(json.dumps(values))
    assert pod.run(**QUICK) == 0, pod.last_words
    assert (site / "torch" / "__init__.py").is_file()


def test_a_trainer_without_the_scripts_is_named(pod: Any) -> None:
    (pod.trainer.folder / "src" / "musubi_tuner" / "zimage_train_network.py").unlink()
    pod.trainer.release("9", "v9")
    assert pod.run(musubi_ref="v9", **QUICK) == 3
    assert "has no zimage_train_network.py" in pod.last_words


def test_a_package_that_takes_the_probe_down_does_not_hide_the_others(pod: Any, tmp_path: Path) -> None:
    crash = "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n"
    make_wheel(tmp_path / "indexes" / "packages" / "prodigyopt", "prodigyopt", "2.0", "prodigyopt", crash)
    pod.run(environment=pod.tampered(UV_CACHE_DIR=str(tmp_path / "cache-of-its-own")), **QUICK)
    assert pod.states["verify"] == "done"
    assert "prodigyopt (importing it ended the process" in pod.message("packages")


def find_links(folder: Path) -> str:
    make_wheel(folder / "links", "torch", "2.9.1+cu128", "torch")
    make_wheel(folder / "links", "torchvision", "0.24.1+cu128", "torchvision")
    return str(folder / "links")
