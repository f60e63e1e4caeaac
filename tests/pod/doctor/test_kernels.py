"""The kernels run in the trainer's own Python; what a failure means is told from its words."""

import importlib.util
import sys
from typing import Any

import pytest

from musabi.children import Outcome
from musabi.pod.bootstrap.state import volume_state
from musabi.pod.doctor import kernel_probe, kernels
from musabi.pod.doctor.kernels import Answer, GpuUse, Pins
from small.machine import Machine, names, standin_environment, standin_run

HAS_TORCH = importlib.util.find_spec("torch") is not None
needs_torch = pytest.mark.skipif(not HAS_TORCH, reason="torch is not installed here")
TORCH = {"version": "2.9.1+cu128", "cuda": "12.8", "arches": ["sm_80", "sm_90", "sm_100", "compute_120"]}
H100 = {"name": "NVIDIA H100", "capability": [9, 0]}
GOOD: dict[str, dict[str, Any]] = {
    "torch": TORCH,
    "torchvision": {"version": "0.24.1+cu128"},
    "devices": {"devices": [H100]},
    "matmul": {"places": ["cuda:0"]},
    "SDPA": {"places": ["cuda:0"]},
    "flash-attn": {"version": "2.8.3", "tried": True},
}
PINS = Pins("2.9.1", "0.24.1", "2.8.3")
RUN = {"kernels.run": "ok"}
FLASH = {"kernels.flash_run": "ok"}


def judged(pins: Pins = PINS, use: GpuUse = GpuUse(), **changed: dict[str, Any]) -> dict[str, str]:  # noqa: B008
    steps = GOOD | {name.replace("_", "-"): values for name, values in changed.items()}
    return names(kernels.judge(Answer(steps), pins, "Renew it", use))


def test_where_all_is_right_there_are_two_findings_and_both_are_ok() -> None:
    assert judged() == RUN | FLASH
    said = kernels.judge(Answer(GOOD), PINS, "Renew it", GpuUse())[0].what
    assert said == "torch 2.9.1+cu128, matmul and SDPA right on NVIDIA H100"


# A kernel's error as torch 2.9 words it, and the finding that explains it.
ERRORS = [
    ("AcceleratorError: CUDA error: no kernel image is available for execution on the device", "no_image"),
    ("RuntimeError: CUDA error: CUBLAS_STATUS_INVALID_VALUE when calling `cublasGemmEx(...)`", "cublas"),
    ("RuntimeError: CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`", "cublas"),
    ("RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", "memory"),
    ("OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB.", "memory"),
    ("RuntimeError: cuDNN error: CUDNN_STATUS_NOT_SUPPORTED", "cudnn"),
    ("RuntimeError: The NVIDIA driver on your system is too old (found version 12040).", "driver_old"),
    ("AcceleratorError: CUDA error: CUDA driver version is insufficient for CUDA runtime version", "driver_old"),
    ("AcceleratorError: CUDA error: uncorrectable ECC error encountered", "hardware"),
    ("AcceleratorError: CUDA error: unspecified launch failure", "hardware"),
    ("ValueError: something else altogether", "failed"),
]  # fmt: skip


@pytest.mark.parametrize(("error", "kind"), ERRORS)
def test_a_kernels_error_is_explained(error: str, kind: str) -> None:
    found = judged(matmul={"error": error})
    assert found == FLASH | {f"kernels.{kind}": "note" if kind == "memory" else "blocks"}


def test_wrong_numbers_and_a_failing_sdpa_block() -> None:
    assert judged(matmul={"off": "0.7"}) == FLASH | {"kernels.wrong": "blocks"}
    assert judged(SDPA={"error": "ValueError: no"}) == FLASH | {"kernels.failed": "blocks"}


def test_a_broken_flash_attn_blocks_only_where_a_training_would_use_it() -> None:
    broken = {"error": "ImportError: flash_attn_2_cuda.so: undefined symbol: _ZN3c10"}
    assert judged(flash_attn=broken) == RUN | {"kernels.flash": "note"}
    assert judged(Pins(trains_with_flash=True), flash_attn=broken) == RUN | {"kernels.flash_used": "blocks"}
    assert judged(flash_attn={"off": "1.5", "version": "2.8.3"}) == RUN | {"kernels.flash": "note"}
    assert judged(flash_attn={"version": None, "tried": False}) == RUN


def test_versions_that_are_not_the_pinned_ones_are_named() -> None:
    other = TORCH | {"version": "2.10.0+cu128"}
    assert judged(torch=other)["kernels.torch_pin"] == "note"
    assert judged(torchvision={"version": "0.25.0"})["kernels.torch_pin"] == "note"
    assert judged(flash_attn={"version": "2.7.0", "tried": True})["kernels.flash_pin"] == "note"
    assert judged(Pins(), torch=other) == RUN | FLASH


def test_what_does_not_import_blocks() -> None:
    assert judged(torch={"error": "ImportError: libcudart.so.12"}) == {"kernels.torch_broken": "blocks"}
    broken = {"error": "RuntimeError: operator torchvision::nms does not exist"}
    assert judged(torchvision=broken) == RUN | FLASH | {"kernels.torchvision_broken": "blocks"}


@pytest.mark.parametrize(
    ("use", "cuda", "expected"),
    [
        (GpuUse(wanted=True, there=False), "12.8", {"kernels.not_on_gpu": "unknown"}),
        (GpuUse(wanted=True, there=False), None, {"kernels.not_on_gpu": "unknown"}),
        (GpuUse(wanted=True, there=True), None, {"kernels.cpu_torch": "blocks"}),
        (GpuUse(wanted=False, there=True), None, {"kernels.cpu_torch": "note"}),
        (GpuUse(wanted=True, there=True), "12.8", {"kernels.no_cuda": "blocks"}),
    ],
)
def test_a_torch_that_sees_no_gpu_is_judged_by_whether_there_is_one(
    use: GpuUse, cuda: str | None, expected: dict[str, str]
) -> None:
    unseen = {"devices": [], "reason": "RuntimeError: No CUDA GPUs are available"}
    none = {"version": None, "tried": False}
    found = judged(PINS, use, torch=TORCH | {"cuda": cuda}, devices=unseen, flash_attn=none)
    assert found == RUN | expected


@pytest.mark.parametrize(
    ("arches", "capability", "covered"),
    [
        (["sm_80", "sm_90"], (8, 0), True),
        (["sm_80", "sm_90"], (8, 9), True),
        (["sm_86", "sm_90"], (8, 0), False),
        (["sm_80", "sm_90"], (12, 0), False),
        (["sm_90", "compute_90"], (12, 0), True),
        (["sm_100", "sm_120"], (12, 0), True),
        (["sm_100", "sm_120"], (10, 3), True),
        (["sm_90a"], (9, 0), True),
        (["sm_90a"], (9, 1), False),
        (["sm_100f"], (10, 3), True),
        (["gfx942"], (9, 4), False),
    ],
)
def test_an_arch_list_covers_a_gpu_as_cuda_promises(
    arches: list[str], capability: tuple[int, int], covered: bool
) -> None:
    assert kernels.covers(arches, capability) is covered


def test_a_gpu_that_torch_has_no_code_for_is_named_with_the_list() -> None:
    old = {"devices": [{"name": "Tesla P100", "capability": [6, 0]}]}
    found = kernels.judge(Answer(GOOD | {"devices": old}), PINS, "Renew it", GpuUse())
    assert found[0].name == "kernels.arch"
    assert "compute capability 6.0" in found[0].what and "sm_80" in found[0].what


def test_a_step_that_takes_the_process_down_is_named() -> None:
    tail = (
        '{"begin": "torch"}',
        '{"step": "torch", "error": "x"}',
        '{"begin": "matmul"}',
        "Segmentation fault",
    )
    answer = kernels.read_answer(Outcome(-11, tail))
    assert (answer.ended_in, answer.late, answer.code) == ("matmul", False, -11)


def test_a_trainers_python_that_dies_or_hangs_is_left_with_a_finding(machine: Machine) -> None:
    standin_environment(machine, '#!/bin/sh\necho \'{"begin": "SDPA"}\'\nkill -SEGV $$\n')
    (found,) = kernels.look(machine.scene())
    assert (found.name, found.state) == ("kernels.died", "blocks")
    assert found.what.startswith("SDPA ended the whole process") and str(machine.state / "venv") in found.mend
    standin_environment(machine, '#!/bin/sh\necho \'{"begin": "torch"}\'\nsleep 60\n')
    (found,) = kernels.look(machine.scene(), limit_s=1)
    assert (found.name, found.state) == ("kernels.late", "unknown")


def test_without_the_trainers_environment_musubi_can_not_start(machine: Machine) -> None:
    _, found = kernels.choose_python(machine.scene())
    assert names(found) == {"kernels.no_environment": "blocks"}


@needs_torch
@pytest.mark.slow
def test_the_real_kernels_run_on_the_cpu_for_the_diffusers_engine(machine: Machine) -> None:
    found = kernels.look(machine.scene(ENGINE="diffusers"))
    assert names(found) == {"kernels.not_on_gpu": "unknown", "kernels.run": "ok"}
    assert "matmul and SDPA right on the CPU" in next(each.what for each in found if each.state == "ok")


@needs_torch
@pytest.mark.slow
def test_the_real_kernels_run_in_the_trainers_own_python_and_its_torch_is_compared(machine: Machine) -> None:
    standin_environment(machine, f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    found = names(kernels.look(machine.scene()))
    assert found["kernels.run"] == "ok" and found["kernels.torch_pin"] == "note"
    found = names(kernels.look(machine.scene(MUSUBI_TORCH_VERSION=_torch_version())))
    assert "kernels.torch_pin" not in found


@needs_torch
@pytest.mark.slow
def test_before_the_trainers_environment_is_there_the_kernels_run_with_this_tools_torch(
    machine: Machine,
) -> None:
    found = kernels.look(machine.scene())
    assert names(found) == {
        "kernels.no_environment": "blocks",
        "kernels.another_torch": "unknown",
        "kernels.not_on_gpu": "unknown",
        "kernels.run": "ok",
    }
    assert _torch_version() in found[1].what


def test_beside_a_training_no_kernel_runs(machine: Machine) -> None:
    standin_environment(machine, f"#!/bin/sh\ntouch {machine.root}/ran\n")
    standin_run(machine)
    (found,) = kernels.look(machine.scene())
    assert (found.name, found.state) == ("kernels.training", "unknown")
    assert "a training is using the GPU" in found.sentence and not (machine.root / "ran").exists()


def test_an_environment_that_is_being_made_does_not_block(machine: Machine) -> None:
    volume_state(machine.scene().settings.space).start_run("musubi", ["environment"])
    _, found = kernels.choose_python(machine.scene())
    assert names(found) == {"kernels.no_environment": "note"}


@needs_torch
@pytest.mark.slow
def test_a_torch_that_can_not_be_imported_says_why(machine: Machine) -> None:
    machine.write({"broken/torch/__init__.py": "raise ImportError('libcudart.so.12: cannot open')"})
    found = kernels.look(machine.scene(ENGINE="diffusers", PYTHONPATH=str(machine.root / "broken")))
    assert names(found) == {"kernels.torch_broken": "blocks"}
    assert found[0].what == "torch does not import (libcudart.so.12: cannot open)"


@needs_torch
@pytest.mark.slow
def test_numbers_that_are_off_are_noticed() -> None:
    import torch

    right = torch.ones(8)
    kernel_probe.compare(right * 1.01, right)
    for wrong in (right * 1.2, right * float("nan"), -right):
        with pytest.raises(kernel_probe.WrongNumbersError):
            kernel_probe.compare(wrong, right)
    kernel_probe.attend("cpu", torch.nn.functional.scaled_dot_product_attention)
    with pytest.raises(kernel_probe.WrongNumbersError):
        kernel_probe.attend("cpu", lambda q, k, v: q + v)


def _torch_version() -> str:
    import importlib.metadata

    return importlib.metadata.version("torch").partition("+")[0]
