"""What an installed torch says about itself in its own files: read, not imported, so it costs nothing."""

import re
from importlib.util import find_spec
from pathlib import Path

from musabi.pod.doctor.scene import Scene

CUDA = re.compile(r"^cuda\b[^=]*=\s*['\"](\d+)\.(\d+)['\"]", re.MULTILINE)


def torch_cuda(scene: Scene) -> tuple[int, int] | None:
    """Return the CUDA that the trainer's torch was built for; None where there is no torch, or none for CUDA."""
    folder = torch_folder(scene)
    try:
        text = (folder / "version.py").read_text(encoding="utf-8") if folder else ""
    except OSError:
        return None
    built = CUDA.search(text)
    return (int(built[1]), int(built[2])) if built else None


def torch_folder(scene: Scene) -> Path | None:
    """Return where the trainer's torch lies: in musubi-tuner's environment, or for diffusers in this one."""
    if scene.engine == "musubi":
        return next(iter(scene.venv.glob("lib/python*/site-packages/torch")), None)
    found = find_spec("torch")
    return Path(found.origin).parent if found and found.origin else None
