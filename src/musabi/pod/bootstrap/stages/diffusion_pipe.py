"""diffusion-pipe: its checkout at a pinned commit with the submodules that it needs, and its own environment.

It is a program under the GPL, run as one, and shares no package with musubi-tuner's environment: its requirements
contradict that one's. Nearly none of them is pinned, so they are taken as they were on the day after the commit.
"""

import json
import shutil
from pathlib import Path
from typing import Any

from musabi.children import ask, scrub
from musabi.engines.diffusion_pipe.places import PipePlaces
from musabi.engines.diffusion_pipe.trainer import SUBMODULES, write_facts
from musabi.errors import MachineError, RequestError
from musabi.pod.bootstrap import probe
from musabi.pod.bootstrap.options import BootstrapOptions
from musabi.pod.bootstrap.stage import Context, Facts, Proof, Stage, Work, is_disk_full, last_line
from musabi.pod.bootstrap.stages.clone import (
    COMMIT,
    GIT,
    PATIENCE,
    head_of,
    new_checkout,
    without_credentials,
)
from musabi.pod.bootstrap.stages.environment import find_interpreter, find_uv, patiently
from musabi.pod.bootstrap.stages.link import link_stage
from musabi.whole import write_text

PYTHON = "3.12"
IMPORTED = ("torch", "torchvision", "torchaudio", "deepspeed", "peft", "diffusers", "optimi", "bitsandbytes")
OPTIONAL = frozenset({"bitsandbytes"})
PROBE_SECONDS = 900
AGAIN = "then run musabi bootstrap --engine diffusion_pipe again."


def checkout_of(options: BootstrapOptions) -> Path:
    """Return where the checkout lies: on the volume, for all jobs."""
    return PipePlaces(options.space).checkout


def venv_of(options: BootstrapOptions) -> Path:
    """Return where the environment lies: on the container's disk."""
    return options.state_dir / "diffusion-pipe-venv"


def _clone_depends_on(context: Context) -> Any:  # noqa: ANN401 - any JSON value
    options = context.options
    return [options.diffusion_pipe_repo_url, options.diffusion_pipe_ref, SUBMODULES]


def _clone_proof(context: Context, facts: Facts) -> Proof:
    checkout = checkout_of(context.options)
    heads = {name: head_of(context, checkout / name) for name in SUBMODULES}
    return Proof(head_of(context, checkout) == facts["commit"] and heads == facts["submodules"])


def _clone(work: Work) -> Facts:
    options = work.options
    checkout, commit = checkout_of(options), options.diffusion_pipe_ref
    if not COMMIT.fullmatch(commit):
        raise RequestError(
            "DIFFUSION_PIPE_REF is no full commit id (40 hex digits). Unset it for the default."
        )
    old = work.context.volume.done(CLONE.name)

    def fill(part: Path) -> str:
        _fetch(work, part, commit)
        return commit

    new_checkout(work, checkout, fill, old["facts"] if old else None)
    heads = {name: head_of(work.context, checkout / name) for name in SUBMODULES}
    return {"commit": commit, "submodules": heads}


def _fetch(work: Work, part: Path, commit: str) -> None:
    """Fetch the commit and the submodules of it that every model needs, without their histories."""
    options = work.options
    url, credentials = without_credentials(options.diffusion_pipe_repo_url, options.child_environment)
    git = [*GIT, *PATIENCE, "-C", str(part)]
    part.mkdir(parents=True)
    for words in (
        [*GIT, "init", "--quiet", str(part)],
        [*git, "remote", "add", "origin", url],
        [*git, "fetch", "--quiet", "--depth", "1", "origin", commit],
        [*git, "checkout", "--quiet", "--force", "--detach", commit],
        [*git, "submodule", "--quiet", "update", "--init", "--depth", "1", "--", *SUBMODULES],
    ):
        outcome = patiently(work, words, options.attempts, **credentials)
        if not outcome.done and is_disk_full(outcome):
            raise MachineError(f"The disk of {part.parent} is full. Make room, {AGAIN}")
        if not outcome.done:
            raise MachineError(
                f"diffusion-pipe could not be fetched from {scrub(url)}: {last_line(outcome)}. "
                f"Check the network and DIFFUSION_PIPE_REPO_URL, {AGAIN}"
            )


def _environment_depends_on(context: Context) -> Any:  # noqa: ANN401 - any JSON value
    options = context.options
    return {
        "commit": context.facts[CLONE.name]["commit"],
        "torch": [options.torch_index, *_torch(options)],
        "packages_of": options.diffusion_pipe_packages_of,
        "venv": str(venv_of(options)),
    }


def _torch(options: BootstrapOptions) -> tuple[str, ...]:
    """Return the pins of torch and its siblings; torchaudio has torch's own version."""
    torch = options.musubi_torch_version
    vision = options.musubi_torchvision_version
    return (f"torch=={torch}", f"torchvision=={vision}", f"torchaudio=={torch.partition('+')[0]}")


def _environment_proof(context: Context, facts: Facts) -> Proof:
    venv = venv_of(context.options)
    there = (venv / "bin" / "deepspeed").exists()
    return Proof(there and _python_version(context, venv) == facts["python"])


def _python_version(context: Context, venv: Path) -> str | None:
    python = venv / "bin" / "python"
    code = "import sys; print(sys.version.split()[0])"
    answer = (
        ask([str(python), "-I", "-c", code], context.options.child_environment) if python.exists() else None
    )
    return answer.strip() if answer else None


def _make(work: Work) -> Facts:
    """Make the environment anew, and prove that its packages import."""
    options = work.options
    venv, uv = venv_of(options), find_uv(options.child_environment)
    work.context.machine.forget(ENVIRONMENT.name)
    shutil.rmtree(venv, ignore_errors=True)
    interpreter = find_interpreter(work, uv, PYTHON)
    _run(work, [uv, "venv", "--no-project", "--python", interpreter, str(venv)])
    _install(work, uv, venv)
    found = _probe(work, venv)
    python = _python_version(work.context, venv) or ""
    write_facts(
        venv, commit=work.context.facts[CLONE.name]["commit"], python=python, torch=found.get("torch", "")
    )
    return {"python": python, "packages": found}


def _install(work: Work, uv: str, venv: Path) -> None:
    """Install torch from its index, or from the usual one where that is out of reach; then the requirements."""
    options = work.options
    held = _torch(options)
    pins = options.state_dir / "diffusion-pipe-pins.txt"
    write_text(pins, "\n".join(held) + "\n")
    install = [uv, "pip", "install", "--python", str(venv / "bin" / "python"), "--compile-bytecode"]
    work.say("installing torch")
    index = ["--default-index", options.torch_index]
    if not patiently(work, [*install, *index, *held], 2).done:
        work.say("torch's own index is out of reach; taking it from the usual one")
        _run(work, [*install, *held])
    work.say("installing diffusion-pipe's requirements")
    of = options.diffusion_pipe_packages_of
    wanted = ["-c", str(pins), "-r", str(checkout_of(options) / "requirements.txt")]
    _run(work, [*install, *wanted, *(("--exclude-newer", of) if of else ())], DS_BUILD_OPS="0")


def _run(work: Work, argv: list[str], **environment: str) -> None:
    outcome = patiently(work, argv, work.options.attempts, **environment)
    if outcome.done:
        return
    where = work.options.state_dir
    if is_disk_full(outcome):
        raise MachineError(
            f"The disk of {where} ran full while diffusion-pipe's environment was installed (it needs about 14 GB). "
            f"Make room, or set MUSABI_STATE_DIR to a larger disk, {AGAIN}"
        )
    raise MachineError(
        f"diffusion-pipe's environment could not be installed: {last_line(outcome)}. Check the network, {AGAIN}"
    )


def _probe(work: Work, venv: Path) -> dict[str, str]:
    """Import what a training imports, in one process; return the versions.

    Raises:
        MachineError: a package that every training needs does not import.
    """
    work.say("importing what a training needs")
    outcome = work.run([str(venv / "bin" / "python"), probe.__file__, *IMPORTED], limit_s=PROBE_SECONDS)
    said = [json.loads(line) for line in outcome.tail if line.startswith("{")]
    found = {row["package"]: row["version"] for row in said if "version" in row}
    errors = {row["package"]: row["error"] for row in said if "error" in row}
    for name in IMPORTED:
        if name in found:
            continue
        error = errors.get(name, "it ended the process")
        if name not in OPTIONAL:
            raise MachineError(
                f"{name} is installed for diffusion-pipe but does not import: {error}. Delete {venv}, {AGAIN}"
            )
        work.say(f"not usable here: {name} ({error})")
    return found


CLONE = Stage("diffusion-pipe", ("layout",), "volume", _clone_depends_on, _clone_proof, _clone)
ENVIRONMENT = Stage(
    "diffusion-pipe-environment",
    ("diffusion-pipe",),
    "machine",
    _environment_depends_on,
    _environment_proof,
    _make,
)
LINK = link_stage("diffusion-pipe-link", "diffusion-pipe-environment", checkout_of, venv_of)
