"""What is read of the trainer's environment, and what is said where it is not there."""

from pathlib import Path

import pytest

from musabi.engines.musubi.environment import trainer_facts, write_trainer_facts
from musabi.errors import MachineError
from musabi.recipes import load

COMMIT = "1" * 40
RECIPE = load("z-image")
SCRIPT = """import argparse

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--network_dim", type=int)
    parser.parse_args()
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with an environment that was verified, and the tokenizer in the hub cache."""
    root = tmp_path / "musubi-tuner"
    package = root / "src" / "musubi_tuner"
    package.mkdir(parents=True)
    (package / "zimage_train_network.py").write_text(SCRIPT)
    binaries = root / ".venv" / "bin"
    binaries.mkdir(parents=True)
    (binaries / "python").symlink_to("/bin/sh")
    write_trainer_facts(
        root / ".venv",
        python="3.12.4",
        torch="2.9.1+cu128",
        torchvision="0.24.1+cu128",
        commit=COMMIT,
        packages=["tensorboard", "prodigyopt"],
        flash_attn=True,
    )
    return root


@pytest.fixture
def hf_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.delenv("HUGGINGFACE_HUB_CACHE", raising=False)
    home = tmp_path / "hf"
    repo = home / "hub" / "models--Tongyi-MAI--Z-Image"
    folder = repo / "snapshots" / COMMIT / "tokenizer"
    folder.mkdir(parents=True)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(COMMIT)
    for name in ("tokenizer_config.json", "vocab.json", "merges.txt"):
        (folder / name).write_text("{}")
    return home


def test_what_the_verification_found_is_read_back(checkout: Path, hf_home: Path) -> None:
    facts = trainer_facts(checkout, hf_home, RECIPE, checkout.parent)
    assert facts.python == checkout / ".venv" / "bin" / "python"
    assert (facts.root, facts.commit, facts.torch) == (checkout, COMMIT, "2.9.1+cu128")
    assert facts.packages == {"tensorboard", "prodigyopt", "flash_attn"}
    assert facts.missing == {}
    assert facts.contract is not None
    assert "--network_dim" in facts.contract.flags("zimage_train_network.py")
    (fault,) = facts.contract.faults("zimage_train_network.py", ("--network_dim", "big"))
    assert "whole number" in fault.message


@pytest.mark.parametrize("gone", ["musubi-tuner", ".venv", "python", "musabi-trainer.json"])
def test_a_missing_environment_is_an_error_with_its_mend(gone: str, checkout: Path, hf_home: Path) -> None:
    places = {
        "musubi-tuner": checkout,
        ".venv": checkout / ".venv",
        "python": checkout / ".venv" / "bin" / "python",
        "musabi-trainer.json": checkout / ".venv" / "musabi-trainer.json",
    }
    places[gone].rename(checkout.parent / "away")
    with pytest.raises(MachineError, match="Run musabi bootstrap"):
        trainer_facts(checkout, hf_home, RECIPE, checkout.parent)


@pytest.mark.parametrize("name", ["vocab.json", "merges.txt"])
def test_a_tokenizer_that_is_not_whole_is_named(name: str, checkout: Path, hf_home: Path) -> None:
    next(hf_home.rglob(name)).unlink()
    missing = trainer_facts(checkout, hf_home, RECIPE, checkout.parent).missing
    ((sentence,),) = {*missing.values()}
    assert missing.keys() == {"cache-text", "sample"}
    assert name in sentence
    assert "musabi models download z-image" in sentence


def test_a_hub_cache_of_its_own_is_looked_into(
    checkout: Path, hf_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(hf_home / "hub"))
    assert trainer_facts(checkout, hf_home / "elsewhere", RECIPE, checkout.parent).missing == {}
    monkeypatch.delenv("HF_HUB_CACHE")
    assert trainer_facts(checkout, hf_home / "elsewhere", RECIPE, checkout.parent).missing != {}
