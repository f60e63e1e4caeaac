"""The average of a run's checkpoints: its formula, the order of the files, what is refused."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from musabi.errors import RequestError
from musabi.lora.ema import decay, ema, shares
from small import loras

MODULES = loras.names(loras.Z_IMAGE, 1)


def checkpoints(folder: Path, count: int = 4, dtype: str = "f32") -> list[Path]:
    """Write checkpoints whose times of writing go backwards, as after a copy."""
    made = []
    for n in range(1, count + 1):
        said = {"ss_steps": str(n * 100), "ss_epoch": str(n)}
        path = loras.write(folder / f"run-{n:06d}.safetensors", MODULES, seed=n, dtype=dtype, metadata=said)
        os.utime(path, (1000 - n, 1000 - n))
        made.append(path)
    return made


@pytest.mark.parametrize("kind", ["lora", "loha", "lokr"])
def test_each_file_moves_the_average(kind: str, tmp_path: Path) -> None:
    paths = [loras.write(tmp_path / f"run-{n:06d}.safetensors", MODULES, kind, seed=n) for n in (1, 2, 3)]
    done = ema(paths, tmp_path / "e.safetensors", beta=0.75)
    one, two, three = map(load_file, paths)
    for key, value in load_file(tmp_path / "e.safetensors").items():
        wanted = (one[key] * 0.75 + two[key] * 0.25) * 0.75 + three[key] * 0.25
        assert torch.equal(value, wanted) if not key.endswith("alpha") else value == one[key]
    assert [share for _, share in done] == pytest.approx([0.5625, 0.1875, 0.25])


def test_the_order_is_that_of_the_steps_not_of_the_clock_or_the_command_line(tmp_path: Path) -> None:
    first, second, third, fourth = checkpoints(tmp_path)
    done = ema([third, first, fourth, second], tmp_path / "e.safetensors")
    assert [path for path, _ in done] == [first, second, third, fourth]
    assert loras.metadata(tmp_path / "e.safetensors")["ss_steps"] == "400"


def test_steps_in_the_metadata_win_over_numbers_in_names(tmp_path: Path) -> None:
    resumed = [
        loras.write(tmp_path / f"{name}.safetensors", MODULES, metadata={"ss_steps": steps})
        for name, steps in (("run-000009", "900"), ("run-000003", "1200"), ("run", "1000"))
    ]
    done = ema(resumed, tmp_path / "e.safetensors")
    assert [path.stem for path, _ in done] == ["run-000009", "run", "run-000003"]


@pytest.mark.parametrize(
    "names",
    [
        ("run-000002", "run-000010", "run"),
        ("run-step00000200", "run-step00001000", "run"),
    ],
)
def test_without_metadata_the_names_tell_the_order_and_the_plain_one_is_last(
    names: tuple[str, ...], tmp_path: Path
) -> None:
    paths = [loras.write(tmp_path / f"{name}.safetensors", MODULES, metadata=None) for name in names]
    done = ema(list(reversed(paths)), tmp_path / "e.safetensors")
    assert [path for path, _ in done] == paths


def test_where_nothing_tells_the_order_a_person_must(tmp_path: Path) -> None:
    paths = [loras.write(tmp_path / f"{name}.safetensors", MODULES, metadata=None) for name in "ab"]
    with pytest.raises(RequestError, match=r"tell their order .a\.safetensors, b\.safetensors.*--as-given"):
        ema(paths, tmp_path / "e.safetensors")
    done = ema([paths[1], paths[0]], tmp_path / "e.safetensors", as_given=True)
    assert [path for path, _ in done] == [paths[1], paths[0]]


def test_beta_goes_evenly_to_beta2_and_the_power_function_starts_with_nothing_of_the_first() -> None:
    assert decay(3, 0.9, 0.5, None) == pytest.approx([0.9, 0.7, 0.5])
    assert decay(1, 0.9, 0.5, None) == [0.9]
    powers = decay(4, 0.9, 0.9, 0.2)
    assert powers[0] == 0 and powers == sorted(powers)
    # gamma of sigma_rel 0.2 by the definition sigma^2 = (g + 1) / ((g + 2)^2 (g + 3)) of arXiv 2312.02696.
    gamma = np.log(powers[1]) / np.log(0.5) - 1
    assert (gamma + 1) / ((gamma + 2) ** 2 * (gamma + 3)) == pytest.approx(0.2**2)
    assert sum(shares(powers)) == pytest.approx(1)


def test_numbers_keep_their_kind_and_are_averaged_in_float32(tmp_path: Path) -> None:
    paths = checkpoints(tmp_path, 3, "bf16")
    ema(paths, tmp_path / "e.safetensors", beta=0.3)
    key = "lora_unet_layers_0_attention_to_q.lora_up.weight"
    one, two, three = (load_file(path)[key].float() for path in paths)
    found = load_file(tmp_path / "e.safetensors")[key]
    assert torch.equal(found, ((one * 0.3 + two * 0.7) * 0.3 + three * 0.7).bfloat16())


def test_files_of_different_runs_are_refused(tmp_path: Path) -> None:
    one = loras.write(tmp_path / "run-000001.safetensors", MODULES)
    rank = loras.write(tmp_path / "run-000002.safetensors", MODULES, rank=8)
    fewer = loras.write(tmp_path / "run-000003.safetensors", MODULES[1:])
    alpha = loras.write(tmp_path / "run-000004.safetensors", MODULES, alpha=3.0)
    text = tmp_path / "run-000005.safetensors"
    text.write_text("no checkpoint, but long enough to hold a length")
    cases = {
        rank: "not checkpoints of one run",
        fewer: "not checkpoints of one run",
        alpha: r"another lora_unet_.*alpha",
    }
    cases[text] = "is no safetensors file"
    for path, message in cases.items():
        with pytest.raises(RequestError, match=message):
            ema([one, path], tmp_path / "e.safetensors")
    with pytest.raises(RequestError, match="two checkpoints"):
        ema([one], tmp_path / "e.safetensors")
    assert not (tmp_path / "e.safetensors").exists()


def test_what_is_no_weight_comes_from_the_first_file(tmp_path: Path) -> None:
    paths = []
    for n in (1, 2):
        tensors = loras.layer("lora", "lora_unet_a", n)
        tensors["lora_unet_a.alpha"] = torch.tensor(2)
        paths.append(tmp_path / f"run-{n:06d}.safetensors")
        save_file(tensors, paths[-1])
    ema(paths, tmp_path / "e.safetensors")
    assert load_file(tmp_path / "e.safetensors")["lora_unet_a.alpha"].dtype == torch.int64
