"""The GPUs' use and memory: of stand-ins for the driver's library and for nvidia-smi."""

import shutil
import subprocess
from pathlib import Path

import pytest

from musabi.watch.page.pod import POD
from musabi.watch.page.pod_gpu import (
    GIB,
    MIB,
    NONE_SECONDS,
    NVML_SECONDS,
    SMI_SECONDS,
    Gpu,
    GpuReader,
    by_smi,
)
from small.page import make_scene

# Two GPUs; the second says neither its use nor its power, as one that is split by MIG.
STAND_IN_NVML = r"""
#include <string.h>
typedef struct { unsigned int gpu, memory; } use_t;
typedef struct { unsigned long long total, free, used; } memory_t;
int nvmlInit_v2(void) { return 0; }
int nvmlDeviceGetCount_v2(unsigned int *count) { *count = 2; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned int i, void **device) { *device = (void *)(0x7f0000000001L + i); return 0; }
int nvmlDeviceGetName(void *device, char *name, unsigned int size) { strncpy(name, "NVIDIA <H100>", size); return 0; }
int nvmlDeviceGetUtilizationRates(void *device, use_t *use) {
    if ((long)device == 0x7f0000000002L) return 3;
    use->gpu = 97; use->memory = 50; return 0; }
int nvmlDeviceGetMemoryInfo(void *device, memory_t *memory) {
    memory->total = 80ULL << 30; memory->used = 60ULL << 30; memory->free = 20ULL << 30; return 0; }
int nvmlDeviceGetTemperature(void *device, int sensor, unsigned int *celsius) {
    if (sensor != 0) return 2;
    *celsius = 66; return 0; }
int nvmlDeviceGetPowerUsage(void *device, unsigned int *milliwatts) {
    if ((long)device == 0x7f0000000002L) return 3;
    *milliwatts = 412345; return 0; }
"""


@pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")
def test_the_drivers_library_is_asked(tmp_path: Path) -> None:
    (tmp_path / "nvml.c").write_text(STAND_IN_NVML)
    library = tmp_path / "libstandin-nvml.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, tmp_path / "nvml.c"], check=True, timeout=60)
    reading = GpuReader({}, str(library)).read()
    assert reading.every_s == NVML_SECONDS
    assert reading.gpus == (
        Gpu("NVIDIA <H100>", 97, 60 * GIB, 80 * GIB, 66, 412),
        Gpu("NVIDIA <H100>", None, 60 * GIB, 80 * GIB, 66, None),
    )


def test_nvidia_smi_is_asked_seldom_where_the_library_is_missing(tmp_path: Path) -> None:
    smi = tmp_path / "nvidia-smi"
    smi.write_text("#!/bin/sh\necho asked >> \"$0.log\"\necho 'Stand-in, 24GB, 5, 1024, 24576, 40, 71.60'\n")
    smi.chmod(0o755)
    scene = make_scene(tmp_path, PATH=f"{tmp_path}:/usr/bin:/bin")
    reader = GpuReader(scene.environ, "libnowhere.so.1")
    reading = reader.read()
    assert reading.every_s == SMI_SECONDS == 10
    assert reading.gpus == (Gpu("Stand-in, 24GB", 5, 1024 * MIB, 24576 * MIB, 40, 72),)
    (tmp_path / "nvidia-smi.log").unlink()
    for _ in range(3):
        shown = POD.parts["gpu"](scene, {})
    assert "1.0 of 24.0 GiB" in shown and "5 %" in shown
    assert (tmp_path / "nvidia-smi.log").read_text() == "asked\n"


def test_what_a_gpu_does_not_say_is_left_out() -> None:
    assert by_smi("X, [N/A], 10, 20, [Not Supported], nan\nodd line\n") == (
        Gpu("X", None, 10 * MIB, 20 * MIB, None, None),
    )


def test_no_gpu_is_said_plainly(tmp_path: Path) -> None:
    reading = GpuReader({"PATH": str(tmp_path)}, "libnowhere.so.1").read()
    assert reading.gpus == () and reading.every_s == NONE_SECONDS
    assert "No GPU answers" in POD.parts["gpu"](make_scene(tmp_path, PATH=str(tmp_path)), {})
