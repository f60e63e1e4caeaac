"""What is read of the trainer's environment, and what is said where it is not there."""

import os
from pathlib import Path

import pytest

from musabi.engines.musubi.environment import known_flags, trainer_facts, write_trainer_facts
from musabi.errors import MachineError
from musabi.recipes import load

COMMIT = "1" * 40


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with an environment that was verified, and the tokenizer in the hub cache."""
    root = tmp_path / "musubi-tuner"
    package = root / "src" / "musubi_tuner"
    (package / "training").mkdir(parents=True)
    (package / "training" / "parser_common.py").write_text(
        'def setup_parser_common():\n    parser.add_argument(\n        "--network_dim",\n        type=int)\n'
        '    parser.add_argument("--seed", "--random_seed", type=int)\n'
    )
    (package / "zimage_train_network.py").write_text('p.add_argument("--fp8_llm", action="store_true")\n')
    (package / "cache_latents.py").write_text(
        'def setup_parser_common():\n    p.add_argument("--vae")\n'
        'def hv_setup_parser(p):\n    p.add_argument("--vae_tiling")\n'
    )
    (package / "zimage_cache_latents.py").write_text('p.add_argument("--device")\n')
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
    facts = trainer_facts(checkout, hf_home)
    assert facts.python == checkout / ".venv" / "bin" / "python"
    assert (facts.root, facts.commit, facts.torch) == (checkout, COMMIT, "2.9.1+cu128")
    assert facts.packages == {"tensorboard", "prodigyopt", "flash_attn"}
    assert facts.missing == ()


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
        trainer_facts(checkout, hf_home)


@pytest.mark.parametrize("name", ["vocab.json", "merges.txt"])
def test_a_tokenizer_that_is_not_whole_is_named(name: str, checkout: Path, hf_home: Path) -> None:
    next(hf_home.rglob(name)).unlink()
    (sentence,) = trainer_facts(checkout, hf_home).missing
    assert name in sentence
    assert "musabi bootstrap" in sentence


def test_a_hub_cache_of_its_own_is_looked_into(
    checkout: Path, hf_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(hf_home / "hub"))
    assert trainer_facts(checkout, hf_home / "elsewhere").missing == ()
    monkeypatch.delenv("HF_HUB_CACHE")
    assert trainer_facts(checkout, hf_home / "elsewhere").missing != ()


def test_the_arguments_of_the_installed_version_are_read(checkout: Path) -> None:
    flags = known_flags(checkout, load("z-image"))
    assert flags["train"] == {"--network_dim", "--seed", "--random_seed", "--fp8_llm"}
    assert flags["cache-latents"] == {"--vae", "--device"}
    assert "sample" not in flags


def test_the_real_checkout_knows_every_argument_of_every_plan() -> None:
    source = os.environ.get("MUSUBI_SRC")
    if source is None:
        pytest.skip("MUSUBI_SRC names no checkout of musubi-tuner")
    flags = known_flags(Path(source), load("z-image"))
    assert {"--network_dim", "--save_precision", "--fp8_scaled", "--lr_scheduler_type"} <= flags["train"]
    assert {"--skip_existing", "--disable_cudnn_backend"} <= flags["cache-latents"]
    assert {"--skip_existing", "--fp8_llm"} <= flags["cache-text"]
    assert {"--lora_multiplier", "--from_file", "--attn_mode"} <= flags["sample"]
