"""What the trainer's torch can really do here: a matmul and attention, run by a child in its environment."""

import json
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from musabi.children import Outcome, run
from musabi.pod.bootstrap.stages.environment import fits_pin
from musabi.pod.bootstrap.wheels import choose_wheel
from musabi.pod.doctor import kernel_probe
from musabi.pod.doctor.finding import Finding, finding, ok
from musabi.pod.doctor.gpu import trains_here
from musabi.pod.doctor.scene import Scene
from musabi.pod.doctor.texts import State

LIMIT_SECONDS = 240.0
"""Importing torch for the first time from a slow disk takes minutes."""
STEPS = ("torch", "torchvision", "devices", "matmul", "SDPA", "flash-attn")
WHEEL_VERSION = re.compile(r"flash_attn-([\d.]+)")
HARDWARE = (
    r"uncorrectable ECC|illegal (?:memory access|instruction)|unspecified launch failure|misaligned address|"
    r"device-side assert|hardware stack error|NVLINK|CUDA error: unknown error|fell off the bus"
)
# What a kernel's error says, and the row of the table of texts that explains it; the first that fits counts.
CAUSES = (
    (r"out of memory|CUBLAS_STATUS_ALLOC_FAILED|CUDNN_STATUS_ALLOC_FAILED", "kernels.memory"),
    (r"no kernel image is available|invalid device function|not compiled for", "kernels.no_image"),
    (
        r"driver (?:version is insufficient|on your system is too old)|unsupported toolchain",
        "kernels.driver_old",
    ),
    (r"CUBLAS_STATUS_\w+|libcublas", "kernels.cublas"),
    (r"CUDNN_STATUS_\w+|cuDNN error|libcudnn", "kernels.cudnn"),
    (HARDWARE, "kernels.hardware"),
)


@dataclass(frozen=True)
class Answer:
    """What the child said: each step's last line by name, the step that it ended in (None: it came to its end)."""

    steps: Mapping[str, dict[str, Any]]
    ended_in: str | None = None
    late: bool = False
    code: int = 0

    def get(self, step: str) -> dict[str, Any]:
        return self.steps.get(step, {})


@dataclass(frozen=True)
class Pins:
    """What was asked for, and whether a training would use flash-attn. Empty: nothing was pinned."""

    torch: str = ""
    torchvision: str = ""
    flash: str = ""
    trains_with_flash: bool = False


@dataclass(frozen=True)
class GpuUse:
    """Whether the trainer needs a GPU, and whether a driver for one is in this container."""

    wanted: bool = True
    there: bool = True


def look(scene: Scene, limit_s: float = LIMIT_SECONDS) -> list[Finding]:
    """Run the kernels and judge what came of them; not beside a training, which they could take memory from."""
    if trains_here(scene):
        return [finding("kernels.training")]
    python, found = choose_python(scene)
    if python is None:
        return found
    try:
        outcome = run([str(python), kernel_probe.__file__], scene.child_environment, limit_s=limit_s)
    except OSError as error:
        return [*found, finding("kernels.torch_broken", error=error.strerror, renew=scene.renew)]
    answer = read_answer(outcome)
    if python != scene.trainer_python:
        torch = answer.get("torch").get("version", "")
        found.append(finding("kernels.another_torch", torch=torch, place="this tool"))
    pins = pins_of(scene) if python == scene.trainer_python else Pins()
    used = GpuUse(scene.wants_gpu, scene.has_driver)
    return found + judge(answer, pins, scene.renew, used, limit_s)


def choose_python(scene: Scene) -> tuple[Path | None, list[Finding]]:
    """Return the interpreter to run the kernels in (None: there is no torch at all) and what that already shows."""
    python = scene.trainer_python
    here = find_spec("torch") is not None
    if scene.engine == "diffusers":
        return (
            (python, []) if here else (None, [finding("kernels.no_torch", place="this tool's environment")])
        )
    if python is not None:
        return python, []
    missing = finding("kernels.no_environment", "note" if scene.bootstrap_at_work else None)
    return (Path(sys.executable) if here else None), [missing]


def pins_of(scene: Scene) -> Pins:
    """Return what the trainer's environment was asked to hold."""
    if scene.engine == "diffusers":
        return Pins()
    asked = scene.settings
    wheel = choose_wheel(asked.musubi_python, asked.musubi_torch_version, asked.musubi_cuda_extra)
    named = WHEEL_VERSION.search(wheel.url) if wheel else None
    return Pins(
        asked.musubi_torch_version,
        asked.musubi_torchvision_version,
        named[1] if named else "",
        scene.trains_with_flash,
    )


def read_answer(outcome: Outcome) -> Answer:
    """Return what the child's output says."""
    steps: dict[str, dict[str, Any]] = {}
    begun: str | None = STEPS[0]
    for line in outcome.tail:
        said = _json(line)
        begun = said.get("begin", begun)
        if "step" in said:
            steps[said["step"]] = said
            begun = None
    return Answer(steps, begun, outcome.ended is not None, outcome.code)


def judge(answer: Answer, pins: Pins, renew: str, use: GpuUse, seconds: float = 0) -> list[Finding]:
    """Return what is to be said of the kernels; `seconds` is what they were given. Pure."""
    found = _imports(answer, renew)
    if answer.ended_in is not None:
        key = "kernels.late" if answer.late else "kernels.died"
        names = {"step": answer.ended_in, "code": answer.code, "renew": renew, "seconds": f"{seconds:g}"}
        found.append(finding(key, **names))
    if "error" not in answer.get("torch") and "version" in answer.get("torch"):
        found += _versions(answer, pins, renew)
        found += _gpus(answer, use)
        found += _kernels(answer)
        found += _flash(answer, pins)
    return found


def covers(arches: list[str], capability: tuple[int, int]) -> bool:
    """Tell whether a torch built for `arches` (sm_90, compute_120) has code for a compute capability.

    Code for sm_XY runs on GPUs of the same major version from XY on; compute_XY is compiled on any later GPU.
    """
    for arch in arches:
        named = re.fullmatch(r"(sm|compute)_(\d+)(\d)([af]?)", arch)
        if named is None:
            continue
        built = (int(named[2]), int(named[3]))
        if named[4] == "a":
            fits = built == capability
        elif named[1] == "sm" or named[4]:
            fits = built[0] == capability[0] and built <= capability
        else:
            fits = built <= capability
        if fits:
            return True
    return False


def explain(step: str, error: str) -> Finding:
    """Return the finding that says what a kernel's error means."""
    key = next((key for pattern, key in CAUSES if re.search(pattern, error, re.IGNORECASE)), "kernels.failed")
    return finding(key, step=step, error=_short(error))


def _imports(answer: Answer, renew: str) -> list[Finding]:
    found = []
    for step, key in (("torch", "kernels.torch_broken"), ("torchvision", "kernels.torchvision_broken")):
        if "error" in answer.get(step):
            found.append(finding(key, error=_short(answer.get(step)["error"]), renew=renew))
    return found


def _versions(answer: Answer, pins: Pins, renew: str) -> list[Finding]:
    found = []
    for package, wanted in (("torch", pins.torch), ("torchvision", pins.torchvision)):
        had = answer.get(package).get("version")
        if wanted and had and not fits_pin(had, wanted):
            names = {"package": package, "had": had, "wanted": wanted}
            found.append(finding("kernels.torch_pin", **names, renew=renew))
    had = answer.get("flash-attn").get("version")
    if pins.flash and had and not fits_pin(had, pins.flash):
        found.append(finding("kernels.flash_pin", had=had, wanted=pins.flash, renew=renew))
    return found


def _gpus(answer: Answer, use: GpuUse) -> list[Finding]:
    """What torch makes of the GPUs."""
    torch, there = answer.get("torch"), answer.get("devices")
    found = []
    for device in there.get("devices", ()):
        capability = (device["capability"][0], device["capability"][1])
        if torch["arches"] and not covers(torch["arches"], capability):
            names = {"name": device["name"], "torch": torch["version"], "arches": ", ".join(torch["arches"])}
            found.append(finding("kernels.arch", **names, capability=f"{capability[0]}.{capability[1]}"))
    if there and not there.get("devices"):
        found.append(_without_gpu(torch, there, use))
    return found


def _without_gpu(torch: dict[str, Any], there: dict[str, Any], use: GpuUse) -> Finding:
    state: State | None = None if use.wanted else "note"
    if not use.there:
        return finding("kernels.not_on_gpu")
    if torch["cuda"] is None:
        return finding("kernels.cpu_torch", state, torch=torch["version"])
    return finding(
        "kernels.no_cuda", state, error=_short(there.get("reason") or there.get("error") or "it names none")
    )


def _kernels(answer: Answer) -> list[Finding]:
    """One finding for the first kernel that failed: after it, a GPU's state tells nothing about the next."""
    said = answer.get("devices").get("devices") or ()
    where = ", ".join(dict.fromkeys(device["name"] for device in said)) or "the CPU"
    good = []
    for step in ("matmul", "SDPA"):
        result = answer.get(step)
        if "off" in result:
            return [finding("kernels.wrong", step=step, off=result["off"])]
        if "error" in result:
            return [explain(step, result["error"])]
        good += [step] if result else []
    torch = answer.get("torch")["version"]
    return [ok("kernels.run", f"torch {torch}, {' and '.join(good)} right on {where}")] if good else []


def _flash(answer: Answer, pins: Pins) -> list[Finding]:
    said = answer.get("flash-attn")
    kernel = answer.get("matmul")
    problem = said.get("error") or (f"its numbers are off by {said['off']}" if "off" in said else "")
    if problem and "error" not in kernel:
        key = "kernels.flash_used" if pins.trains_with_flash else "kernels.flash"
        return [finding(key, flash=said.get("version") or pins.flash, error=_short(problem))]
    if said.get("tried"):
        return [ok("kernels.flash_run", f"flash-attn {said['version']} right")]
    return []


def _short(error: str) -> str:
    """Return an error without its class and its full stop, short enough for a line."""
    text = re.sub(r"^(?:RuntimeError|Exception|ImportError|OSError|AcceleratorError): ", "", error.strip())
    return text[:160].rstrip(". ")


def _json(line: str) -> dict[str, Any]:
    try:
        said = json.loads(line) if line.startswith("{") else {}
    except json.JSONDecodeError:
        return {}
    return said if isinstance(said, dict) else {}
