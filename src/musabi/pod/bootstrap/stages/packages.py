"""Packages that the trainer can use and does not ask for: fetched where they can be, believed once imported.

None of them fails a boot. What did not import is named, and the trainer goes without it.
"""

import json
import platform
from pathlib import Path
from typing import Any

from musabi.machine import machine_facts
from musabi.pod.bootstrap import probe
from musabi.pod.bootstrap.stage import Context, Facts, Proof, Stage, Work, last_line
from musabi.pod.bootstrap.stages.environment import find_uv
from musabi.pod.bootstrap.wheels import Wheel, choose_wheel

EXTRAS = ("bitsandbytes", "prodigyopt", "tensorboard", "hf_transfer")
CORE = ("torch", "torchvision")
PROBE_SECONDS = 900
INSTALL_SECONDS = 1800


def wanted_wheel(context: Context, gpus: int) -> Wheel | None:
    """Return the flash-attn wheel to fetch, or None without a GPU or where none fits."""
    options = context.options
    if not gpus or options.musubi_cuda_extra == "cpu":
        return None
    return choose_wheel(
        options.musubi_python, options.musubi_torch_version, options.musubi_cuda_extra, platform.machine()
    )


def _depends_on(context: Context) -> Any:  # noqa: ANN401 - any JSON value
    wheel = wanted_wheel(context, len(machine_facts().gpus))
    return {
        "built": context.facts["environment"]["built"],
        "extras": EXTRAS,
        "wheel": wheel.requirement if wheel else None,
    }


def _proof(context: Context, facts: Facts) -> Proof:
    """The environment's own proof covers its Python; here, that the packages still lie in it."""
    site = next(iter(context.options.venv.glob("lib/python*/site-packages")), None)
    return Proof(site is not None and all((site / name).exists() for name in facts["folders"]))


def _install(work: Work) -> Facts:
    options = work.options
    uv = find_uv(options.child_environment)
    pins = options.project / "pins.txt"
    pins.parent.mkdir(parents=True, exist_ok=True)
    pins.write_text(
        f"torch=={options.musubi_torch_version}\ntorchvision=={options.musubi_torchvision_version}\n", "utf-8"
    )
    install = [uv, "pip", "install", "--python", str(options.python), "--compile-bytecode", "-c", str(pins)]
    if not work.run([*install, *EXTRAS], limit_s=INSTALL_SECONDS).done:
        for name in EXTRAS:
            work.run([*install, name], limit_s=INSTALL_SECONDS)
    wheel = wanted_wheel(work.context, len(machine_facts().gpus))
    names: tuple[str, ...] = (*CORE, *EXTRAS)
    if wheel is not None:
        outcome = work.run([*install, "--no-deps", wheel.requirement], limit_s=INSTALL_SECONDS)
        if outcome.done:
            names += ("flash_attn",)
        else:
            work.say(f"flash-attn could not be fetched ({last_line(outcome)}); training uses SDPA")
    found, broken = _probe(work, names)
    if wheel is None and machine_facts().gpus and options.musubi_cuda_extra != "cpu":
        work.say("no flash-attn wheel fits this Python and torch; training uses SDPA")
    optional = [name for name in broken if name not in CORE]
    if optional:
        work.say("not usable here: " + ", ".join(f"{name} ({broken[name]})" for name in optional))
    site = next(iter(options.venv.glob("lib/python*/site-packages")), None)
    folders = [name for name in found if site is not None and (site / name).exists()]
    return {"packages": found, "broken": broken, "folders": folders}


def _probe(work: Work, names: tuple[str, ...]) -> tuple[dict[str, str], dict[str, str]]:
    """Import all packages in one process; go on with the rest where one takes the process down."""
    found: dict[str, str] = {}
    broken: dict[str, str] = {}
    script = str(Path(probe.__file__))
    while left := [name for name in names if name not in found and name not in broken]:
        outcome = work.run([str(work.options.python), script, *left], limit_s=PROBE_SECONDS)
        begun = left[0]
        for line in outcome.tail:
            said = _json(line)
            begun = said.get("begin", begun)
            if "version" in said:
                found[said["package"]] = said["version"]
            elif "error" in said:
                broken[said["package"]] = said["error"]
        if not outcome.done and begun not in found and begun not in broken:
            broken[begun] = f"importing it ended the process ({outcome.ended or outcome.code})"
        elif begun not in found and begun not in broken:
            broken[begun] = "the import said nothing"
    return found, broken


def _json(line: str) -> dict[str, str]:
    if not line.startswith("{"):
        return {}
    try:
        said = json.loads(line)
    except json.JSONDecodeError:
        return {}
    return said if isinstance(said, dict) else {}


PACKAGES = Stage("packages", ("environment",), "machine", _depends_on, _proof, _install)
