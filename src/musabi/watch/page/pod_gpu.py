"""How busy the GPUs are and how full their memory is: asked of the driver's own library, else of nvidia-smi."""

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass

from musabi.children import ask

NVML_SECONDS = 1.5
SMI_SECONDS = 10.0
NONE_SECONDS = 60.0
"""How long an answer is taken for new, by who gave it."""
SMI_LIMIT_SECONDS = 20.0
MIB, GIB = 1024**2, 1024**3
QUERY = (
    "nvidia-smi",
    "--query-gpu=name,utilization.gpu,memory.used,memory.total,temperature.gpu,power.draw",
    "--format=csv,noheader,nounits",
)


@dataclass(frozen=True)
class Gpu:
    """One GPU: its use in percent, memory in bytes; None where it does not say."""

    name: str
    use: int | None = None
    used: int | None = None
    total: int | None = None
    celsius: int | None = None
    watts: int | None = None


@dataclass(frozen=True)
class Reading:
    """What the GPUs said; `every_s` is for how long that is new."""

    gpus: tuple[Gpu, ...]
    every_s: float


class _Utilization(ctypes.Structure):
    _fields_ = (("gpu", ctypes.c_uint), ("memory", ctypes.c_uint))


class _Memory(ctypes.Structure):
    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


class GpuReader:
    """Reads all GPUs. The library (docs.nvidia.com/deploy/nvml-api) makes no context and takes no GPU memory."""

    def __init__(self, environ: Mapping[str, str], library: str = "libnvidia-ml.so.1") -> None:
        self._environ = environ
        self._library = library
        self._nvml: ctypes.CDLL | None = None

    def read(self) -> Reading:
        """Return how the GPUs are now; none where there is none or nobody can tell."""
        if found := self._by_library():
            return Reading(found, NVML_SECONDS)
        if found := by_smi(ask(QUERY, self._environ, limit_s=SMI_LIMIT_SECONDS) or ""):
            return Reading(found, SMI_SECONDS)
        return Reading((), NONE_SECONDS)

    def _by_library(self) -> tuple[Gpu, ...]:
        try:
            if self._nvml is None:
                nvml = ctypes.CDLL(self._library)
                if nvml.nvmlInit_v2() != 0:
                    return ()
                self._nvml = nvml
            count = ctypes.c_uint()
            if self._nvml.nvmlDeviceGetCount_v2(ctypes.byref(count)) != 0:
                return ()
            return tuple(filter(None, (_gpu(self._nvml, index) for index in range(count.value))))
        except (OSError, AttributeError):  # no driver, or one that lacks a function
            return ()


def by_smi(text: str) -> tuple[Gpu, ...]:
    """Return the GPUs of nvidia-smi's answer, a line each (memory in MiB there)."""
    found = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) < 6:
            continue
        use, used, total, celsius, watts = (_number(cell) for cell in cells[-5:])
        name = ", ".join(cells[:-5])
        found.append(Gpu(name, use, _bytes(used), _bytes(total), celsius, watts))
    return tuple(found)


def _gpu(nvml: ctypes.CDLL, index: int) -> Gpu | None:
    handle = ctypes.c_void_p()
    if nvml.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(handle)) != 0:
        return None
    name, use, memory = ctypes.create_string_buffer(96), _Utilization(), _Memory()
    celsius, milliwatts = ctypes.c_uint(), ctypes.c_uint()
    named = nvml.nvmlDeviceGetName(handle, name, len(name)) == 0
    says_use = nvml.nvmlDeviceGetUtilizationRates(handle, ctypes.byref(use)) == 0
    says_memory = nvml.nvmlDeviceGetMemoryInfo(handle, ctypes.byref(memory)) == 0
    says_heat = nvml.nvmlDeviceGetTemperature(handle, 0, ctypes.byref(celsius)) == 0
    says_power = nvml.nvmlDeviceGetPowerUsage(handle, ctypes.byref(milliwatts)) == 0
    return Gpu(
        name.value.decode(errors="replace") if named else f"GPU {index}",
        int(use.gpu) if says_use else None,
        int(memory.used) if says_memory else None,
        int(memory.total) if says_memory else None,
        int(celsius.value) if says_heat else None,
        round(milliwatts.value / 1000) if says_power else None,
    )


def _number(cell: str) -> int | None:
    try:
        return round(float(cell))
    except (ValueError, OverflowError):
        return None


def _bytes(mib: int | None) -> int | None:
    return None if mib is None else mib * MIB
