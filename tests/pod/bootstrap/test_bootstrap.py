"""The bootstrap, run for real against loopback peers: a fresh one, a second one, and what it repairs."""

import json
import os
import shutil
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from musabi.pod.bootstrap.state import bootstrap_status

MUSUBI_STAGES = {
    *("layout", "scripts", "templates", "accelerate", "clone", "environment"),
    *("link", "packages", "weights", "verify"),
}


def test_a_fresh_bootstrap_goes_all_the_way(pod: Any) -> None:
    assert pod.run() == 0, pod.last_words
    assert set(pod.states) == MUSUBI_STAGES and set(pod.states.values()) == {"done"}
    root = pod.root
    for folder in ("models/dit", "models/vae", "models/text_encoder", "dataset/images", "dataset/cache"):
        assert (root / folder).is_dir()
    checkout = root / "musubi-tuner"
    head = subprocess.check_output(["git", "-C", str(checkout), "rev-parse", "HEAD"], text=True).strip()
    assert head == pod.trainer.commit
    python = checkout / ".venv" / "bin" / "python"
    imported = "import torch, musubi_tuner; print(torch.__version__, musubi_tuner.__file__)"
    said = subprocess.check_output([python, "-c", imported], text=True, cwd=root)
    assert said.split() == ["2.9.1+cu128", str(checkout / "src" / "musubi_tuner" / "__init__.py")]
    written = json.loads((checkout / ".venv" / "musabi-trainer.json").read_text())
    assert written["torch"] == "2.9.1+cu128" and written["commit"] == head and not written["flash_attn"]
    assert written["packages"] == ["hf_transfer", "prodigyopt", "tensorboard"]
    assert "libcudart" in pod.message("packages")
    assert Path(written["accelerate_config"]).is_file()
    assert (root / "models" / "vae" / "ae.safetensors").stat().st_size > 100_000
    assert (root / "scripts" / "bootstrap.sh").resolve() == pod.options.source_root / "bootstrap.sh"
    assert f'"{root}/dataset/images"' in (root / "dataset" / "dataset.toml").read_text()
    assert (root / ".musubi_bootstrap_done").is_file()
    assert list((checkout / "src").rglob("*.pyc"))


def test_a_second_bootstrap_skips_everything_and_asks_the_hub_nothing(pod: Any) -> None:
    pod.run()
    asked = len(pod.hub.seen)
    began = time.monotonic()
    assert pod.run() == 0
    took = time.monotonic() - began
    assert set(pod.states.values()) == {"skipped"}
    assert len(pod.hub.seen) == asked
    assert took < 2, f"a second bootstrap took {took:.1f} s"


def test_the_trainer_reads_facts_that_the_musubi_engine_understands(pod: Any) -> None:
    from musabi.engines.musubi.environment import trainer_facts
    from musabi.recipes import load

    pod.run()
    facts = trainer_facts(
        pod.options.space.checkout, pod.options.hf_home, load("z-image"), pod.options.space.state
    )
    assert facts.packages == {"hf_transfer", "prodigyopt", "tensorboard"}
    assert facts.accelerate_config is not None and facts.missing == {}


def test_weights_are_fetched_beside_the_environment(pod: Any) -> None:
    pod.run()
    stages = bootstrap_status(pod.options.space)["stages"]  # type: ignore[index]
    weights, environment = stages["weights"], stages["environment"]
    assert weights["started"] < environment["ended"] and environment["started"] < weights["ended"]
    assert weights["bytes"] == weights["total"] > 0


def test_a_new_container_on_the_volume_rebuilds_only_its_own(pod: Any) -> None:
    pod.run()
    bodies = len(pod.hub.bodies(""))
    assert pod.run(musabi_state_dir=pod.machine("other").musabi_state_dir) == 0
    assert {name for name, state in pod.states.items() if state == "done"} == {
        "environment",
        "link",
        "packages",
        "verify",
    }
    assert len(pod.hub.bodies("")) == bodies
    assert (pod.root / "musubi-tuner" / ".venv").resolve() == pod.machine("other").venv


def test_the_diffusers_profile_has_no_clone_no_environment_and_no_weights(pod: Any) -> None:
    assert pod.run("diffusers") == 0
    assert set(pod.states) == {"layout", "scripts", "templates"}
    assert not (pod.root / "musubi-tuner").exists() and not pod.hub.seen
    assert (pod.root / ".musubi_bootstrap_done").is_file()


def test_weights_can_be_left_out(pod: Any) -> None:
    assert pod.run(skip_model_download=True) == 0
    assert "weights" not in pod.states and not pod.hub.seen


def test_templates_are_never_overwritten(pod: Any) -> None:
    toml = pod.root / "dataset" / "dataset.toml"
    toml.parent.mkdir(parents=True)
    toml.write_text("mine")
    pod.run("diffusers")
    pod.options.space.state.joinpath("bootstrap.json").unlink()
    pod.run("diffusers")
    assert toml.read_text() == "mine"
    assert (pod.root / "dataset" / "sample_prompts.txt").is_file()
    assert (pod.root / "notebooks" / "00_musubi_tuner_runpod.ipynb").is_file()


def test_a_script_of_ones_own_stays_under_a_wrappers_name(pod: Any) -> None:
    mine = pod.root / "scripts" / "bootstrap.sh"
    mine.parent.mkdir(parents=True)
    mine.write_text("#!/bin/sh\necho mine\n")
    assert pod.run("diffusers") == 0
    assert mine.read_text() == "#!/bin/sh\necho mine\n"
    assert (pod.root / "scripts" / "convert_lora.sh").is_symlink()


def test_scripts_on_a_volume_without_links_hand_over(pod: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: Any, **__: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "symlink_to", no_links)
    pod.run("diffusers")
    script = pod.root / "scripts" / "convert_lora.sh"
    assert subprocess.check_output([script, "a", "b c"], text=True) == "convert_lora.sh a b c\n"


# What breaks, and which stages have to run because of it.
REPAIRS = {
    "deleted environment": {"environment", "packages", "verify"},
    "torch gone from the environment": {"environment", "packages", "verify"},
    "truncated weight": {"weights"},
    "deleted tokenizer file": {"weights"},
    "deleted checkout": {"clone", "link"},
    "deleted facts": {"verify"},
    "deleted folder and script": {"layout", "scripts"},
}


def break_it(pod: Any, how: str) -> None:
    site = next(pod.options.venv.glob("lib/python*/site-packages"))
    weight = pod.root / "models" / "dit" / "diffusion_pytorch_model-00002-of-00002.safetensors"
    match how:
        case "deleted environment":
            shutil.rmtree(pod.options.venv)
        case "torch gone from the environment":
            for path in site.glob("torch-*"):
                shutil.rmtree(path)
        case "truncated weight":
            os.truncate(weight, 1234)
        case "deleted tokenizer file":
            next(pod.options.hf_home.rglob("merges.txt")).unlink()
        case "deleted checkout":
            shutil.rmtree(pod.options.space.checkout)
        case "deleted facts":
            (pod.options.venv / "musabi-trainer.json").unlink()
        case "deleted folder and script":
            (pod.root / "dataset" / "cache").rmdir()
            (pod.root / "scripts" / "convert_lora.sh").unlink()


@pytest.mark.slow
def test_what_broke_is_repaired_and_nothing_else_is_done(pod: Any) -> None:
    pod.run()
    for how, stages in REPAIRS.items():
        break_it(pod, how)
        assert pod.run() == 0, (how, pod.last_words)
        done = {name for name, state in pod.states.items() if state == "done"}
        assert done == stages, how
        assert pod.run() == 0 and set(pod.states.values()) == {"skipped"}, how


def test_a_fault_of_one_stage_does_not_stop_the_others(pod: Any) -> None:
    pod.hub.fail("gated", method="HEAD", path="ae.safetensors")
    assert pod.run() == 3
    assert pod.states["weights"] == "failed" and pod.states["verify"] == "done"
    assert "Comfy-Org/z_image_turbo is gated" in pod.last_words
    assert (pod.root / "models" / "dit" / "diffusion_pytorch_model-00001-of-00002.safetensors").is_file()
    assert not (pod.root / ".musubi_bootstrap_done").exists()
    pod.hub.heal()
    assert pod.run() == 0 and (pod.root / ".musubi_bootstrap_done").is_file()


def test_the_done_marker_is_not_believed_and_goes_when_work_is_needed(pod: Any) -> None:
    pod.root.mkdir()
    (pod.root / ".musubi_bootstrap_done").write_text("done, says somebody")
    pod.hub.fail("404", path="/api/models")
    assert pod.run() == 3
    assert not (pod.root / ".musubi_bootstrap_done").exists()


def test_the_token_reaches_the_hub_and_no_log_line_or_command(pod: Any) -> None:
    pod.hub.fail("500", path="ae.safetensors", times=1)
    pod.run()
    token = pod.options.environment["HF_TOKEN"]
    assert pod.hub.bodies("ae.safetensors")[-1].authorization == f"Bearer {token}"
    kept = [*pod.options.space.state.rglob("*"), *pod.options.state_dir.glob("*.json")]
    texts = [path.read_text(errors="replace") for path in kept if path.is_file()]
    assert token not in "\n".join([*texts, json.dumps(pod.lines)])
    assert "$ " in pod.log


def test_a_password_in_the_repository_url_is_not_logged(pod: Any) -> None:
    url = pod.options.musubi_repo_url.replace("file://", "file://someone:pa55word@localhost")
    pod.run(musubi_repo_url=url, skip_model_download=True)
    texts = [path.read_text(errors="replace") for path in pod.options.space.state.glob("bootstrap*")]
    assert "pa55word" not in "\n".join([*texts, json.dumps(pod.lines)])


def test_a_disk_that_is_too_small_for_the_weights_is_foreseen(pod: Any) -> None:
    pod.hub.claim_size("Comfy-Org/z_image_turbo", "split_files/vae/ae.safetensors", 10**18)
    assert pod.run() == 3
    assert pod.states["weights"] == "failed" and "bytes" in pod.last_words and "missing" in pod.last_words
    assert not pod.hub.bodies("")


def test_a_workspace_that_cannot_be_written_is_named(pod: Any) -> None:
    from musabi.errors import MachineError

    pod.root.write_text("a file where the folder should be")
    with pytest.raises(MachineError, match="can't be written"):
        pod.run()


def test_status_of_a_bootstrap_that_was_killed_says_so(pod: Any) -> None:
    pod.run("diffusers")
    file = pod.options.space.state / "bootstrap.json"
    values = json.loads(file.read_text())
    values["run"] |= {"state": "running", "pid": 2**22 - 3}
    values["stages"]["scripts"]["state"] = "running"
    file.write_text(json.dumps(values))
    status = bootstrap_status(pod.options.space)
    assert status is not None and status["state"] == "interrupted"
    assert status["stages"]["scripts"]["state"] == "interrupted"


def test_options_differ_by_what_the_environment_says(pod: Any) -> None:
    child = replace(pod.options, environment={"PYTHONPATH": "/x", "UV_FIND_LINKS": "/w", "VIRTUAL_ENV": "/v"})
    given = child.child_environment
    assert given["PYTHONPATH"] == "/x" and given["UV_FIND_LINKS"] == "/w" and "VIRTUAL_ENV" not in given
    assert given["HF_HOME"] == str(pod.options.hf_home)
