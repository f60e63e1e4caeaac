"""The GPU and its driver: who they are, which CUDA they offer, how much memory is free.

The driver's own library is asked, and nvidia-smi by its --query-gpu for what the library does not say; its table is
for people and changes with the driver.
"""

import json
import re
import sys
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from musabi.children import ask
from musabi.hub.listing import gigabytes
from musabi.pod.doctor import driver_probe
from musabi.pod.doctor.finding import Finding, finding, ok
from musabi.pod.doctor.scene import Scene
from musabi.pod.doctor.torch_files import torch_cuda
from musabi.pod.stopping.run_here import running_run

QUERY = (
    "nvidia-smi",
    "--query-gpu=driver_version,name,memory.free,memory.total,compute_cap",
    "--format=csv,noheader,nounits",
)
MIB = 1024**2
SMALL_BYTES = 12e9
"""musubi-tuner's README asks for 12 GB; a card that is sold as such has 12.9e9 bytes, of which a little is gone."""
BUSY_SHARE = 0.9
BF16_CAPABILITY = (8, 0)
# The newest CUDA of each driver branch (NVIDIA's CUDA toolkit release notes, table of driver versions).
BRANCHES = (
    (525, (12, 0)), (530, (12, 1)), (535, (12, 2)), (545, (12, 3)), (550, (12, 4)), (555, (12, 5)),
    (560, (12, 6)), (565, (12, 7)), (570, (12, 8)), (575, (12, 9)), (580, (13, 0)),
)  # fmt: skip
# CUDA's error codes that have a row of their own (cuda.h, CUresult).
ERRORS = {
    34: "gpu.stub_library",
    100: "gpu.no_device",
    802: "gpu.not_ready",
    803: "gpu.mismatch",
    804: "gpu.mismatch",
}

Version = tuple[int, int]


@dataclass(frozen=True)
class Device:
    """One GPU. Memory in bytes; None where nobody says."""

    name: str
    total: int
    free: int | None = None
    capability: Version | None = None


@dataclass(frozen=True)
class Driver:
    """What is known of the driver. `error` is the code that its library refused with.

    `library`: it is in this container (None: it was asked and did not answer). `cuda` is the newest that it
    offers, `version` its own number, such as 570.86.15.
    """

    library: bool | None
    cuda: Version | None = None
    version: str = ""
    error: int | None = None
    devices: tuple[Device, ...] = ()


def look(scene: Scene, *, free: bool = True, limit_s: float = 20) -> list[Finding]:
    """Look at the GPU; `free` asks for free memory by a context on it, which takes a moment.

    While a run trains here no context is made, since each takes memory that the run may need: nvidia-smi is asked.
    """
    training = trains_here(scene)
    driver = read_driver(scene, free and not training, limit_s)
    if scene.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1") and driver.library:
        return [finding("gpu.hidden", None if scene.wants_gpu else "note")]
    found = judge(driver, wanted_cuda(scene), training=training, seconds=limit_s, free=free)
    return found if scene.wants_gpu else [_less(each) for each in found]


def trains_here(scene: Scene) -> bool:
    """Tell whether a run is at work in this container; those of other pods on the same volume don't count."""
    return running_run(scene.settings.space) is not None


def read_driver(scene: Scene, free: bool, limit_s: float) -> Driver:
    """Ask the driver's library in a child, and nvidia-smi beside it; each has `limit_s` seconds."""
    environment = dict(scene.environ)
    smi: list[str | None] = [None]

    def ask_smi() -> None:
        smi[0] = ask(QUERY, environment, limit_s=limit_s)

    beside = threading.Thread(target=ask_smi, daemon=True)
    beside.start()
    argv = [sys.executable, "-I", driver_probe.__file__, *(["free"] if free else [])]
    library = _json(ask(argv, environment, limit_s=limit_s))
    beside.join()
    return combine(library, smi[0], _kernel_module(scene.proc))


def combine(library: dict[str, Any] | None, smi: str | None, module: str) -> Driver:
    """Return what the answers of the library and of nvidia-smi say together; `module` is the kernel's version."""
    rows = parse_query(smi or "")
    version = rows[0][0] if rows else module
    if library is None or not library["library"]:
        there = None if library is None else False
        return Driver(there, branch_cuda(version), version, devices=tuple(device for _, device in rows))
    devices = tuple(_device(values) for values in library["devices"])
    if len(rows) == len(devices):
        pairs = zip(devices, rows, strict=True)
        devices = tuple(replace(one, free=seen.free) if one.free is None else one for one, (_, seen) in pairs)
    cuda = (library["cuda"] // 1000, library["cuda"] % 1000 // 10) if "cuda" in library else None
    return Driver(True, cuda, version, library.get("error"), devices)


def parse_query(text: str) -> list[tuple[str, Device]]:
    """Return (driver's version, GPU) for each line of nvidia-smi's answer (memory in MiB there)."""
    found = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) < 5 or not cells[-2].isdigit():
            continue
        free = int(cells[-3]) * MIB if cells[-3].isdigit() else None
        major, _, minor = cells[-1].partition(".")
        capability = (int(major), int(minor)) if major.isdigit() and minor.isdigit() else None
        found.append((cells[0], Device(", ".join(cells[1:-3]), int(cells[-2]) * MIB, free, capability)))
    return found


def branch_cuda(version: str) -> Version | None:
    """Return the newest CUDA of a driver, by its number; None where the table does not know it."""
    major = version.partition(".")[0]
    if not major.isdigit() or int(major) < BRANCHES[0][0]:
        return None
    return next(cuda for branch, cuda in reversed(BRANCHES) if branch <= int(major))


def wanted_cuda(scene: Scene) -> Version | None:
    """Return the CUDA that the trainer's torch was built for, else the one that MUSUBI_CUDA_EXTRA asks for."""
    built = torch_cuda(scene)
    if built is not None or scene.engine == "diffusers":
        return built
    named = re.fullmatch(r"cu(\d\d)(\d)", scene.settings.musubi_cuda_extra)
    return (int(named[1]), int(named[2])) if named else None


def judge(
    driver: Driver, wanted: Version | None, *, training: bool, seconds: float = 0, free: bool = True
) -> list[Finding]:
    """Return what is to be said of a driver where torch wants CUDA `wanted`. Pure."""
    if driver.library is None:
        return [finding("gpu.no_answer", seconds=f"{seconds:g}")]
    if not driver.library and not driver.devices:
        return [finding("gpu.none")]
    if driver.error is not None:
        return [finding(ERRORS.get(driver.error, "gpu.driver_fails"), code=driver.error)]
    if not driver.devices:
        return [finding("gpu.no_device")]
    found = [] if driver.library else [finding("gpu.no_library", name=driver.devices[0].name)]
    found += [ok("gpu.driver", _seen(driver)), *_cuda(driver, wanted)]
    for device in driver.devices:
        found += _memory(device, training, free)
        if device.capability and device.capability < BF16_CAPABILITY:
            found.append(finding("gpu.no_bf16", name=device.name, capability=dotted(device.capability)))
    return found


def dotted(version: Version) -> str:
    return f"{version[0]}.{version[1]}"


def _cuda(driver: Driver, wanted: Version | None) -> list[Finding]:
    if wanted is None:
        return []
    if driver.cuda is None:
        return [finding("gpu.cuda_unknown", driver=driver.version or "of this host")]
    names = {"had": dotted(driver.cuda), "wanted": dotted(wanted)}
    if driver.cuda[0] < wanted[0]:
        return [finding("gpu.cuda_too_old", **names)]
    # Within a major version, CUDA promises that older drivers run newer programs, save what needs new PTX.
    return [finding("gpu.cuda_older", **names)] if driver.cuda < wanted else []


def _memory(device: Device, training: bool, free: bool) -> list[Finding]:
    found = []
    if device.total < SMALL_BYTES:
        found.append(finding("gpu.small", name=device.name, total=gigabytes(device.total)))
    if device.free is None and free and not training:
        found.append(finding("gpu.free_unknown", name=device.name))
    if device.free is not None and device.free < BUSY_SHARE * device.total and not training:
        sizes = {"free": gigabytes(device.free), "total": gigabytes(device.total)}
        found.append(finding("gpu.busy", name=device.name, **sizes))
    return found


def _seen(driver: Driver) -> str:
    parts = []
    for device in driver.devices:
        free = f" ({gigabytes(device.free)} free)" if device.free is not None else ""
        parts.append(f"{device.name}, {gigabytes(device.total)}{free}")
    driver_words = f"driver {driver.version}" if driver.version else "driver"
    return ", ".join(
        [*parts, f"{driver_words} for CUDA {dotted(driver.cuda)}" if driver.cuda else driver_words]
    )


def _less(found: Finding) -> Finding:
    """Where the trainer needs no GPU, nothing about one stands in its way."""
    return replace(found, state="note") if found.state == "blocks" else found


def _device(values: dict[str, Any]) -> Device:
    return Device(values["name"], values["total"], values.get("free"), tuple(values["capability"]))


def _json(answer: str | None) -> dict[str, Any] | None:
    try:
        values = json.loads(answer or "")
    except json.JSONDecodeError:
        return None
    return values if isinstance(values, dict) else None


def _kernel_module(proc: Path) -> str:
    """Return the driver's version as its kernel module says it."""
    try:
        text = (proc / "driver" / "nvidia" / "version").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    number = re.search(r"\b\d{3}\.\d+(?:\.\d+)?\b", text)
    return number[0] if number else ""
