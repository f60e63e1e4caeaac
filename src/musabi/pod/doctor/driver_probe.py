"""Run as a child: asks NVIDIA's driver library about CUDA and the GPUs, and prints one line of JSON.

A broken driver may hang or end the process, so nobody asks it in their own. With the argument `free` it asks for
free memory too, which takes a context on each GPU. This file imports nothing of musabi.

Driver API: https://docs.nvidia.com/cuda/cuda-driver-api/
"""

import contextlib
import ctypes
import json
import sys
from typing import Any

CAPABILITY_MAJOR, CAPABILITY_MINOR = 75, 76


class DriverError(Exception):
    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def call(cuda: ctypes.CDLL, name: str, *arguments: object) -> None:
    code = getattr(cuda, name)(*arguments)
    if code != 0:
        raise DriverError(code)


def number(cuda: ctypes.CDLL, name: str, *arguments: object) -> int:
    """Return the int that a call writes into its first argument."""
    value = ctypes.c_int()
    call(cuda, name, ctypes.byref(value), *arguments)
    return value.value


def device(cuda: ctypes.CDLL, index: int, free: bool) -> dict[str, Any]:
    handle = number(cuda, "cuDeviceGet", index)
    name = ctypes.create_string_buffer(256)
    call(cuda, "cuDeviceGetName", name, 256, handle)
    total = ctypes.c_size_t()
    call(cuda, "cuDeviceTotalMem_v2", ctypes.byref(total), handle)
    capability = [
        number(cuda, "cuDeviceGetAttribute", attribute, handle)
        for attribute in (CAPABILITY_MAJOR, CAPABILITY_MINOR)
    ]
    found = {"name": name.value.decode(errors="replace"), "total": total.value, "capability": capability}
    if free:
        with contextlib.suppress(DriverError):  # a GPU that is full takes no context
            found["free"] = free_memory(cuda, handle)
    return found


def free_memory(cuda: ctypes.CDLL, handle: int) -> int:
    context, free, total = ctypes.c_void_p(), ctypes.c_size_t(), ctypes.c_size_t()
    call(cuda, "cuDevicePrimaryCtxRetain", ctypes.byref(context), handle)
    call(cuda, "cuCtxSetCurrent", context)
    call(cuda, "cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
    return free.value


def ask(free: bool) -> dict[str, Any]:
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return {"library": False}
    found: dict[str, Any] = {"library": True, "devices": []}
    try:
        found["cuda"] = number(cuda, "cuDriverGetVersion")
        call(cuda, "cuInit", 0)
        count = number(cuda, "cuDeviceGetCount")
        found["devices"] = [device(cuda, index, free) for index in range(count)]
    except DriverError as error:
        found["error"] = error.code
    return found


if __name__ == "__main__":
    print(json.dumps(ask("free" in sys.argv[1:])))
