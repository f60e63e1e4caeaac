"""How busy the GPUs are, through the driver's own library: a child process every few seconds would cost more."""

import ctypes


class _Utilization(ctypes.Structure):
    _fields_ = (("gpu", ctypes.c_uint), ("memory", ctypes.c_uint))


class GpuLook:
    """Asks NVML (docs.nvidia.com/deploy/nvml-api) for the GPUs' use. Without a driver there is nothing to ask."""

    def __init__(self, library: str = "libnvidia-ml.so.1") -> None:
        self._nvml: ctypes.CDLL | None = None
        try:
            nvml = ctypes.CDLL(library)
            if nvml.nvmlInit_v2() == 0:
                self._nvml = nvml
        except (OSError, AttributeError):
            self._nvml = None

    def busiest(self) -> int | None:
        """Return the use of the busiest GPU in percent, or None where no GPU says it (none, or split by MIG)."""
        if self._nvml is None:
            return None
        found = [self._use(index) for index in range(self._count(self._nvml))]
        return max((use for use in found if use is not None), default=None)

    @staticmethod
    def _count(nvml: ctypes.CDLL) -> int:
        count = ctypes.c_uint()
        return count.value if nvml.nvmlDeviceGetCount_v2(ctypes.byref(count)) == 0 else 0

    def _use(self, index: int) -> int | None:
        handle, use = ctypes.c_void_p(), _Utilization()
        if self._nvml is None or self._nvml.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(handle)) != 0:
            return None
        if self._nvml.nvmlDeviceGetUtilizationRates(handle, ctypes.byref(use)) != 0:
            return None
        return int(use.gpu)
