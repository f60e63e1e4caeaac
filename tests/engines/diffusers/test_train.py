"""Training: what it writes, and that nothing but the arguments and the seed decides it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from musabi.errors import RequestError, TrainerError

Run = Callable[..., Any]


def tensors(path: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return dict(load_file(path))


def same(first: Path, second: Path) -> bool:
    import torch

    one, other = tensors(first), tensors(second)
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Return all scalars of the only event file under `folder`, by tag."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (file,) = folder.rglob("events.out.tfevents.*")
    assert file.parent.name == "network_train"
    read = EventAccumulator(str(file))
    read.Reload()
    return {tag: [(point.step, point.value) for point in read.Scalars(tag)] for tag in read.Tags()["scalars"]}


def test_files_have_the_contracts_names(run_training: Run, tmp_path: Path) -> None:
    done = run_training(
        tmp_path, "--max_train_epochs", 4, "--save_every_n_epochs", 1, "--save_state_every_n_epochs", 2
    )
    assert done.code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "lora-000001.safetensors",
        "lora-000002-state",
        "lora-000002.safetensors",
        "lora-000003.safetensors",
        "lora-state",
        "lora.safetensors",
    ]
    assert [Path(event.file).name for event in done.of("checkpoint")][-1] == "lora.safetensors"
    assert [(event.epoch, event.step) for event in done.of("checkpoint")] == [(1, 3), (2, 6), (3, 9), (4, 12)]


def test_the_same_seed_gives_the_same_tensors_and_another_one_others(
    run_training: Run, tmp_path: Path
) -> None:
    for name, seed in (("a", 7), ("b", 7), ("c", 8)):
        run_training(tmp_path / name, "--max_train_epochs", 2, "--seed", seed)
    assert same(tmp_path / "a/lora.safetensors", tmp_path / "b/lora.safetensors")
    assert not same(tmp_path / "a/lora.safetensors", tmp_path / "c/lora.safetensors")


def test_the_loss_on_fixed_noise_ends_below_its_start(run_training: Run, tmp_path: Path) -> None:
    done = run_training(tmp_path, "--max_train_epochs", 6, "--save_every_n_epochs", 3, optimizer="adamw")
    fixed = done.of("fixed-loss")
    assert [event.step for event in fixed] == [0, 9, 18]
    assert fixed[-1].loss < fixed[0].loss


@pytest.mark.parametrize("name", ["prodigy", "adamw"])
def test_scalars_have_the_contracts_tags_and_steps(run_training: Run, tmp_path: Path, name: str) -> None:
    run_training(
        tmp_path / "out",
        *("--max_train_epochs", 2, "--logging_dir", tmp_path / "logs", "--log_prefix", "lora-"),
        optimizer=name,
    )
    found = scalars(tmp_path / "logs")
    own = {"lr/d*lr/unet"} if name == "prodigy" else set()
    assert found.keys() == {"loss/current", "loss/average", "loss/epoch", "loss/fixed", "lr/unet"} | own
    assert [step for step, _ in found["loss/current"]] == [1, 2, 3, 4, 5, 6]
    assert [step for step, _ in found["loss/epoch"]] == [1, 2]
    assert [step for step, _ in found["loss/fixed"]] == [0, 6]
    current = [value for _, value in found["loss/current"]]
    assert found["loss/average"][1][1] == pytest.approx(sum(current[:2]) / 2, rel=1e-5)
    assert found["loss/epoch"][1][1] == pytest.approx(sum(current[3:]) / 3, rel=1e-5)


def test_the_rate_warms_up_and_falls_over_the_whole_run(run_training: Run, tmp_path: Path) -> None:
    from math import cos, pi

    run_training(
        tmp_path / "out", "--max_train_epochs", 4, "--logging_dir", tmp_path / "logs", optimizer="adamw"
    )
    rates = [value for _, value in scalars(tmp_path / "logs")["lr/unet"]]
    warm = [1e-3 * step / 3 for step in (1, 2)]
    falling = [1e-3 * 0.5 * (1 + cos(pi * (step - 3) / 9)) for step in range(3, 13)]
    assert rates == pytest.approx([*warm, *falling[:-1], 0.0], rel=1e-4, abs=1e-9)


def test_keys_alphas_and_metadata_are_musubi_tuners(run_training: Run, tmp_path: Path) -> None:
    from safetensors import safe_open

    run_training(tmp_path, "--max_train_epochs", 1, "--save_precision", "bf16")
    with safe_open(tmp_path / "lora.safetensors", "pt") as file:
        names, metadata = set(file.keys()), file.metadata()
        alpha = file.get_tensor("lora_unet_layers_0_attention_to_out_0.alpha")
        down = file.get_tensor("lora_unet_layers_2_feed_forward_w2.lora_down.weight")
    modules = [
        f"lora_unet_layers_{layer}_{part}"
        for layer in range(3)
        for part in (
            *(f"attention_to_{name}" for name in ("q", "k", "v", "out_0")),
            *(f"feed_forward_w{number}" for number in (1, 2, 3)),
        )
    ]
    parts = ("alpha", "lora_down.weight", "lora_up.weight")
    assert names == {f"{module}.{part}" for module in modules for part in parts}
    assert (float(alpha), str(alpha.dtype)) == (2.0, "torch.bfloat16")
    assert down.shape[0] == 4
    wanted = {
        "ss_network_module": "networks.lora_zimage",
        "ss_network_dim": "4",
        "ss_network_alpha": "2.0",
        "ss_base_model_version": "z_image",
        "ss_steps": "3",
        "ss_epoch": "1",
        "ss_num_train_items": "5",
        "ss_num_batches_per_epoch": "3",
        "modelspec.architecture": "Z-Image/lora",
        "modelspec.title": "lora",
        "ss_discrete_flow_shift": "2.0",
        "ss_timestep_sampling": "shift",
    }
    assert {name: metadata[name] for name in wanted} == wanted
    assert metadata["ss_optimizer"].startswith("prodigyopt.prodigy.Prodigy(d0=0.0001,")
    assert len(metadata["sshs_model_hash"]) == 64
    assert not any(str(tmp_path) in value for value in metadata.values())


def test_the_model_hash_is_that_of_the_tensors(run_training: Run, tmp_path: Path) -> None:
    import hashlib

    from safetensors import safe_open

    run_training(tmp_path, "--max_train_epochs", 1)
    path = tmp_path / "lora.safetensors"
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    with safe_open(path, "pt") as file:
        assert file.metadata()["sshs_model_hash"] == hashlib.sha256(data[start:]).hexdigest()


def test_a_run_can_end_in_the_middle_of_an_epoch(run_training: Run, tmp_path: Path) -> None:
    done = run_training(tmp_path, "--max_train_steps", 4)
    assert [event.step for event in done.steps] == [1, 2, 3, 4]
    assert (tmp_path / "lora.safetensors").is_file()


def test_checkpointing_gradients_changes_no_tensor(run_training: Run, tmp_path: Path) -> None:
    run_training(tmp_path / "a", "--max_train_steps", 2)
    run_training(tmp_path / "b", "--max_train_steps", 2, "--gradient_checkpointing")
    assert same(tmp_path / "a/lora.safetensors", tmp_path / "b/lora.safetensors")


def test_adamw8bit_falls_back_to_adamw_with_one_plain_line(run_training: Run, tmp_path: Path) -> None:
    done = run_training(tmp_path, "--max_train_steps", 1, "--optimizer_type", "AdamW8bit", optimizer="adamw")
    assert done.code == 0
    assert "AdamW8bit needs bitsandbytes and a GPU, which are not here: AdamW takes its place." in done.said


def test_pictures_are_rendered_at_the_interval_asked_for(run_training: Run, tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text(
        "ohwx robot --w 64 --h 64 --s 2 --l 1 --d 5\na circle --w 32 --h 64 --s 2 --l 2 --d 6\n"
    )
    done = run_training(
        tmp_path / "out",
        *("--max_train_epochs", 3, "--sample_prompts", prompts, "--sample_every_n_epochs", 2),
    )
    names = sorted(path.name for path in (tmp_path / "out/sample").iterdir())
    assert [name[:16] for name in names] == ["lora_e000002_00_", "lora_e000002_01_"]
    assert [name[30:] for name in names] == ["_5.png", "_6.png"]
    assert len(done.of("sample")) == 2
    run_training(tmp_path / "plain", "--max_train_epochs", 3)
    assert same(tmp_path / "out/lora.safetensors", tmp_path / "plain/lora.safetensors")


def test_a_loss_that_is_no_number_ends_the_run(
    run_training: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from musabi.engines.diffusers import flow

    real = flow.loss
    monkeypatch.setattr(flow, "loss", lambda *args: real(*args) * float("nan"))
    with pytest.raises(TrainerError, match="The loss became nan at step 1"):
        run_training(tmp_path, "--max_train_steps", 1)


def test_a_missing_cache_file_is_named_before_anything_is_loaded(
    run_training: Run, dataset: Any, tmp_path: Path
) -> None:
    (dataset.cache / "robot1_zi_te.safetensors").unlink()
    with pytest.raises(
        RequestError, match=r"robot1_zi_te\.safetensors is missing or cut short\. Run: musabi"
    ):
        run_training(tmp_path / "out", "--max_train_steps", 1, toml=dataset.toml)


def test_latents_of_another_resolution_are_refused(run_training: Run, dataset: Any, tmp_path: Path) -> None:
    dataset.toml.write_text(dataset.toml.read_text().replace("[64, 64]", "[96, 96]"))
    with pytest.raises(RequestError, match="was made for another resolution"):
        run_training(tmp_path / "out", "--max_train_steps", 1, toml=dataset.toml)


def test_a_training_without_a_length_is_refused(run_training: Run, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="has no length"):
        run_training(tmp_path)


def test_an_output_folder_that_can_not_be_made_is_named(run_training: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        run_training(tmp_path / "file" / "out", "--max_train_steps", 1)
