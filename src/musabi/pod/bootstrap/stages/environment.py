"""The trainer's Python environment: resolved once with torch pinned, on the container's disk.

uv takes no constraints at `uv sync`, and musubi-tuner's own project locks three conflicting CUDA forks. So a
uv project of our own depends on the checkout as an editable path, without an extra, and binds torch and
torchvision to one PyTorch index. Where that can't be resolved (the index is out of reach), and for the CPU,
which has no such index of the trainer's, the same pins are given to `uv pip install`.
"""

import json
import re
import shutil
import sys
import tomllib
import uuid
from pathlib import Path
from typing import Any

from musabi.children import Outcome, ask
from musabi.errors import MachineError
from musabi.pod.bootstrap.stage import Context, Facts, Proof, Stage, Work, is_disk_full, is_network, last_line
from musabi.whole import write_text

# torch with its CUDA libraries, and without them: sizes of the installed packages, rounded up.
CUDA_BYTES, CPU_BYTES = 12e9, 3e9
CUDA_PACKAGE = re.compile(r"^\s*\+\s*(nvidia-|cuda-|triton\b)", re.MULTILINE)
ABOUT = (
    "import importlib.metadata as m, json, sys; "
    "print(json.dumps([sys.version.split()[0], m.version('torch'), m.version('torchvision')]))"
)


def find_uv(environment: dict[str, str]) -> str:
    """Return the path of uv: of this environment, else of PATH.

    Raises:
        MachineError: it is in neither.
    """
    beside = Path(sys.executable).parent / "uv"
    found = str(beside) if beside.exists() else shutil.which("uv", path=environment.get("PATH"))
    if found is None:
        raise MachineError("uv is not installed. Run scripts/setup.sh pod, then musabi bootstrap again.")
    return found


def project_text(name: str, checkout: Path, python: str, torch: str, torchvision: str, index: str) -> str:
    """Return the pyproject.toml of the project that pins torch to one index."""
    minor = ".".join(python.split(".")[:2])
    return f"""[project]
name = "musabi-trainer"
version = "0"
requires-python = "=={minor}.*"
dependencies = ["{name}", "torch=={torch}", "torchvision=={torchvision}"]

[tool.uv]
package = false

[tool.uv.sources]
{name} = {{ path = "{checkout}", editable = true }}
torch = {{ index = "pytorch" }}
torchvision = {{ index = "pytorch" }}

[[tool.uv.index]]
name = "pytorch"
url = "{index}"
explicit = true
"""


def pins(torch: str, torchvision: str) -> list[str]:
    """Return the requirements that hold torch where it belongs."""
    return [f"torch=={torch}", f"torchvision=={torchvision}"]


def fits_pin(installed: str | None, pinned: str) -> bool:
    """Tell whether an installed version is the pinned one, whatever its build (`+cu128`)."""
    return installed is not None and pinned in (installed, installed.partition("+")[0])


def installed_versions(context: Context) -> tuple[str, str, str] | None:
    """Return (python, torch, torchvision) of the trainer's environment, or None where it is broken."""
    python = context.options.python
    answer = (
        ask([str(python), "-I", "-c", ABOUT], context.options.child_environment) if python.exists() else None
    )
    if not answer:
        return None
    python_version, torch, torchvision = json.loads(answer)
    return python_version, torch, torchvision


def _depends_on(context: Context) -> Any:  # noqa: ANN401 - any JSON value
    options = context.options
    return {
        "commit": context.facts["clone"]["commit"],
        "python": options.musubi_python,
        "index": options.torch_index,
        "pins": pins(options.musubi_torch_version, options.musubi_torchvision_version),
        "checkout": str(options.space.checkout),
        "venv": str(options.venv),
    }


def _proof(context: Context, facts: Facts) -> Proof:
    return Proof(installed_versions(context) == tuple(facts["versions"]))


def _make(work: Work) -> Facts:
    options = work.options
    uv = find_uv(options.child_environment)
    interpreter = find_interpreter(work, uv, options.musubi_python)
    _clear_unless_sound(work, interpreter)
    _say_if_tight(work)
    work.context.machine.forget("environment")
    how = _install(work, uv, interpreter)
    versions = installed_versions(work.context)
    if versions is None:
        raise MachineError(
            f"The trainer's environment was made, but its Python does not start ({options.python}). "
            f"Delete {options.venv} and run musabi bootstrap again."
        )
    _compile(work)
    return {"versions": list(versions), "how": how, "interpreter": interpreter, "built": uuid.uuid4().hex}


def find_interpreter(work: Work, uv: str, wanted: str) -> str:
    """Return a Python of the version `wanted`: the system's, else one that uv has or can fetch.

    Raises:
        MachineError: there is none, and none can be fetched.
    """
    environment = work.options.child_environment
    work.options.state_dir.mkdir(parents=True, exist_ok=True)

    def find(*where: str) -> str | None:
        argv = [uv, "python", "find", "--no-project", "--system", "--no-python-downloads", *where, wanted]
        answer = ask(argv, environment, cwd=work.options.state_dir)
        return answer.strip() if answer else None

    found = find("--no-managed-python") or find("--managed-python")
    if found is not None:
        return found
    work.say(f"fetching Python {wanted}")
    outcome = work.run([uv, "python", "install", wanted])
    found = find("--managed-python") if outcome.done else None
    if found is None:
        raise MachineError(
            f"Python {wanted} is not on this machine and could not be fetched ({last_line(outcome)}). "
            f"Install python{wanted} (for musubi-tuner, MUSUBI_PYTHON names another version), then run "
            "musabi bootstrap again."
        )
    return found


def _clear_unless_sound(work: Work, interpreter: str) -> None:
    """Delete an environment whose last making did not end, that is broken, or that has another Python.

    A kill in the middle of an installation can leave a package that looks installed and is not whole.
    """
    options = work.options
    whole = work.context.machine.done("environment") is not None
    versions = installed_versions(work.context) if whole else None
    about = ask(
        [interpreter, "-I", "-c", "import sys; print(sys.version.split()[0])"], options.child_environment
    )
    if versions is None or about is None or versions[0] != about.strip():
        shutil.rmtree(options.venv, ignore_errors=True)


def _install(work: Work, uv: str, interpreter: str) -> str:
    options = work.options
    if options.musubi_cuda_extra == "cpu":
        work.say("installing with uv pip: the CPU needs no PyTorch index")
        return _pip(work, uv, interpreter)
    write_text(
        options.project / "pyproject.toml",
        project_text(
            _project_name(options.space.checkout),
            options.space.checkout,
            options.musubi_python,
            options.musubi_torch_version,
            options.musubi_torchvision_version,
            options.torch_index,
        ),
    )
    argv = [uv, "sync", "--project", str(options.project), "--python", interpreter, "--compile-bytecode"]
    # Once more and no oftener: uv pip, which comes next, can do without that index.
    outcome = patiently(work, argv, 2, UV_PROJECT_ENVIRONMENT=str(options.venv))
    if outcome.done:
        return "uv sync"
    _refuse_full_disk(work, outcome)
    work.say(f"uv sync failed ({last_line(outcome)}); installing with uv pip instead")
    return _pip(work, uv, interpreter)


def _pip(work: Work, uv: str, interpreter: str) -> str:
    options = work.options
    if not options.python.exists():
        shutil.rmtree(options.venv, ignore_errors=True)
        outcome = work.run([uv, "venv", "--no-project", "--python", interpreter, str(options.venv)])
        if not outcome.done:
            raise MachineError(
                f"The environment {options.venv} could not be made: {last_line(outcome)}. "
                "Check the disk, then run musabi bootstrap again."
            )
    held = pins(options.musubi_torch_version, options.musubi_torchvision_version)
    file = options.project / "pins.txt"
    write_text(file, "\n".join(held) + "\n")
    install = [uv, "pip", "install", "--python", str(options.python), "--compile-bytecode", "-c", str(file)]
    wanted = ["-e", str(options.space.checkout), *held]
    if options.musubi_cuda_extra == "cpu":
        plan = work.run([*install, "--dry-run", *wanted])
        if CUDA_PACKAGE.search(plan.text):
            if work.run([*install, "--torch-backend", "cpu", *wanted]).done:
                return "uv pip install, torch's CPU index"
            work.say("torch's CPU index is out of reach; the CUDA build is installed")
    outcome = patiently(work, [*install, *wanted], options.attempts)
    if not outcome.done:
        _refuse_full_disk(work, outcome)
        raise MachineError(
            f"The trainer's environment could not be installed: {last_line(outcome)}. "
            "Check the network and MUSUBI_TORCH_VERSION, then run musabi bootstrap again."
        )
    return "uv pip install"


def patiently(work: Work, argv: list[str], attempts: int, **environment: str) -> Outcome:
    """Run uv or git; where the network failed, again after a while (what was fetched is in its cache)."""
    for attempt in range(1, attempts):
        outcome = work.run(argv, None, **environment)
        if outcome.done or not is_network(outcome):
            return outcome
        work.say(f"installing again ({last_line(outcome)})")
        work.pause(work.options.access.delay(attempt))
    return work.run(argv, None, **environment)


def _say_if_tight(work: Work) -> None:
    """Say that the disk may not suffice; how much is needed is known roughly, so nothing is refused."""
    needed = CPU_BYTES if work.options.musubi_cuda_extra == "cpu" else CUDA_BYTES
    free = shutil.disk_usage(work.options.state_dir).free
    if free < needed and not work.options.venv.exists():
        work.say(
            f"the disk of {work.options.state_dir} has {free / 1e9:.1f} GB free; "
            f"the trainer's environment takes about {needed / 1e9:.0f} GB"
        )


def _refuse_full_disk(work: Work, outcome: Outcome) -> None:
    if is_disk_full(outcome):
        raise MachineError(
            f"The disk of {work.options.state_dir} ran full while the trainer's environment was installed "
            "(it needs about 12 GB). Make room, or set MUSABI_STATE_DIR to a larger disk, then run "
            "musabi bootstrap again."
        )


def _project_name(checkout: Path) -> str:
    values = tomllib.loads((checkout / "pyproject.toml").read_text(encoding="utf-8"))
    return str(values["project"]["name"])


def _compile(work: Work) -> None:
    """Compile the checkout's own modules; uv compiled the installed ones."""
    source = work.options.space.checkout / "src"
    if source.is_dir():
        work.run([str(work.options.python), "-I", "-m", "compileall", "-q", "-j", "0", str(source)])


ENVIRONMENT = Stage("environment", ("clone",), "machine", _depends_on, _proof, _make)
