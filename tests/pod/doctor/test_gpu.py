"""The driver is asked, never nvidia-smi's table; what it says is judged by what torch was built for."""

import time

import pytest

from musabi.pod.doctor import gpu
from musabi.pod.doctor.scene import Scene
from small.machine import SMI, Machine, names, standin_environment, standin_run, standin_smi

RIGHT = {"gpu.driver": "ok"}

# What the stand-in driver does, and what the doctor makes of it with musubi-tuner and cu128.
DRIVERS = [
    ({}, RIGHT),
    ({"STANDIN_CUDA": "13000"}, RIGHT),
    ({"STANDIN_CUDA": "12040"}, RIGHT | {"gpu.cuda_older": "note"}),
    ({"STANDIN_CUDA": "11080"}, RIGHT | {"gpu.cuda_too_old": "blocks"}),
    ({"MUSUBI_CUDA_EXTRA": "cu130"}, RIGHT | {"gpu.cuda_too_old": "blocks"}),
    ({"STANDIN_INIT": "34"}, {"gpu.stub_library": "blocks"}),
    ({"STANDIN_INIT": "100"}, {"gpu.no_device": "blocks"}),
    ({"STANDIN_COUNT": "0"}, {"gpu.no_device": "blocks"}),
    ({"STANDIN_INIT": "802"}, {"gpu.not_ready": "blocks"}),
    ({"STANDIN_INIT": "803"}, {"gpu.mismatch": "blocks"}),
    ({"STANDIN_INIT": "804"}, {"gpu.mismatch": "blocks"}),
    ({"STANDIN_INIT": "999"}, {"gpu.driver_fails": "blocks"}),
    ({"STANDIN_CRASH": "1"}, {"gpu.no_answer": "blocks"}),
    ({"STANDIN_FREE": "9000000000"}, RIGHT | {"gpu.busy": "note"}),
    ({"STANDIN_TOTAL": "8500000000", "STANDIN_FREE": "8400000000"}, RIGHT | {"gpu.small": "note"}),
    ({"STANDIN_CAPABILITY": "75"}, RIGHT | {"gpu.no_bf16": "note"}),
    ({"CUDA_VISIBLE_DEVICES": "-1"}, {"gpu.hidden": "blocks"}),
    ({"CUDA_VISIBLE_DEVICES": "", "ENGINE": "diffusers"}, {"gpu.hidden": "note"}),
    ({"STANDIN_INIT": "999", "ENGINE": "diffusers"}, {"gpu.driver_fails": "note"}),
]  # fmt: skip


def words(scene: Scene) -> str:
    return next(each.what for each in gpu.look(scene) if each.name == "gpu.driver")


@pytest.mark.parametrize(("behaviour", "expected"), DRIVERS, ids=str)
def test_what_the_driver_says_is_judged(
    driven: Machine, behaviour: dict[str, str], expected: dict[str, str]
) -> None:
    assert names(gpu.look(driven.scene(**behaviour))) == expected


def test_a_good_gpu_is_named_with_its_memory_and_its_cuda(driven: Machine) -> None:
    said = words(driven.scene(STANDIN_NAME="NVIDIA H100 80GB HBM3"))
    assert said == "NVIDIA H100 80GB HBM3, 85.5 GB (84.0 GB free), driver for CUDA 12.8"


def test_the_drivers_own_number_comes_from_nvidia_smi_or_the_kernel_module(driven: Machine) -> None:
    module = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.15  Release Build\nGCC 12.2\n"
    driven.write({"proc/driver/nvidia/version": module})
    assert "driver 570.86.15 for CUDA 12.8" in words(driven.scene())
    standin_smi(driven, "570.124.06", SMI)
    assert "driver 570.124.06 for CUDA 12.8" in words(driven.scene())


def test_free_memory_comes_from_nvidia_smi_where_the_gpu_takes_no_context(driven: Machine) -> None:
    del driven.environ["STANDIN_FREE"]
    assert names(gpu.look(driven.scene())) == RIGHT | {"gpu.free_unknown": "unknown"}
    standin_smi(driven, "570.124.06", "NVIDIA Stand-in, 2000, 81559, 9.0")
    assert names(gpu.look(driven.scene())) == RIGHT | {"gpu.busy": "note"}


def test_beside_a_training_no_context_is_made_and_nvidia_smi_is_asked(driven: Machine) -> None:
    assert "(84.0 GB free)" in words(driven.scene())
    standin_run(driven, "other-pod 0-boot pid:[1]")
    assert "(84.0 GB free)" in words(driven.scene())
    standin_run(driven)
    assert "free" not in words(driven.scene())
    standin_smi(driven, "570.124.06", "NVIDIA Stand-in, 2000, 81559, 9.0")
    assert "(2.1 GB free)" in words(driven.scene())


def test_a_driver_that_hangs_is_left_in_time(driven: Machine) -> None:
    began = time.monotonic()
    (found,) = gpu.look(driven.scene(STANDIN_HANG="1"), limit_s=1)
    assert found.name == "gpu.no_answer" and "within 1 s" in found.what
    assert time.monotonic() - began < 10


def test_the_cuda_that_the_installed_torch_was_built_for_wins_over_the_setting(driven: Machine) -> None:
    standin_environment(driven, "#!/bin/sh\n", cuda="13.0")
    assert names(gpu.look(driven.scene()))["gpu.cuda_too_old"] == "blocks"
    standin_environment(driven, "#!/bin/sh\n", cuda=None)
    assert names(gpu.look(driven.scene(STANDIN_CUDA="13000"))) == RIGHT


def test_nvidia_smi_alone_still_says_what_there_is(machine: Machine) -> None:
    standin_smi(machine, "550.54.15", SMI)
    found = gpu.look(machine.scene())
    assert names(found) == {"gpu.no_library": "blocks", "gpu.driver": "ok", "gpu.cuda_older": "note"}
    assert found[1].what == "NVIDIA H100 80GB HBM3, 85.5 GB (83.9 GB free), driver 550.54.15 for CUDA 12.4"


def test_a_driver_older_than_the_table_is_not_guessed_at(machine: Machine) -> None:
    standin_smi(machine, "470.82.01", SMI)
    assert names(gpu.look(machine.scene()))["gpu.cuda_unknown"] == "unknown"


@pytest.mark.parametrize(
    ("environ", "state"),
    [
        ({}, "blocks"),
        ({"ENGINE": "musubi"}, "blocks"),
        ({"ENGINE": "diffusers"}, "note"),
        ({"MUSUBI_CUDA_EXTRA": "cpu"}, "note"),
    ],
)
def test_no_gpu_blocks_only_where_the_trainer_needs_one(
    machine: Machine, environ: dict[str, str], state: str
) -> None:
    assert names(gpu.look(machine.scene(**environ))) == {"gpu.none": state}


def test_an_nvidia_smi_that_fails_or_prints_its_table_is_no_gpu(machine: Machine) -> None:
    standin_smi(machine, "550.54.15", SMI, refuses=True)
    assert names(gpu.look(machine.scene())) == {"gpu.none": "blocks"}
    assert gpu.parse_query("| NVIDIA-SMI 610.10   CUDA UMD Version: 13.2 |\nno devices were found\n") == []


def test_several_gpus_and_a_name_with_a_comma_are_read() -> None:
    text = "570.1, A, B, 10, 20, 8.6\n570.1, C, [N/A], 40, 12.0\n"
    first, second = (device for _, device in gpu.parse_query(text))
    assert (first.name, first.free, first.capability) == ("A, B", 10 * gpu.MIB, (8, 6))
    assert (second.name, second.free, second.total, second.capability) == ("C", None, 40 * gpu.MIB, (12, 0))
