"""Stand-ins for the programs that install: each writes down that it was started, and fails."""

from pathlib import Path

PROGRAMS = (
    *("pip", "pip3", "uv", "apt", "apt-get", "git", "conda", "mamba", "huggingface-cli", "hf"),
    *("wget", "curl"),
)
SCRIPT = """#!/bin/sh
echo "$(basename "$0") $*" >>"{log}"
exit 1
"""
MODULE = """import sys
with open({log!r}, "a") as file:
    print("python -m pip", *sys.argv[1:], file=file)
sys.exit(1)
"""


class Installers:
    """Stand-ins in a folder, found before the real ones by a process with `environ`."""

    def __init__(self, folder: Path) -> None:
        self._programs, self._modules, self._log = folder / "bin", folder / "modules", folder / "started"
        self._programs.mkdir(parents=True)
        for name in PROGRAMS:
            program = self._programs / name
            program.write_text(SCRIPT.format(log=self._log))
            program.chmod(0o755)
        (self._modules / "pip").mkdir(parents=True)
        (self._modules / "pip" / "__init__.py").touch()
        (self._modules / "pip" / "__main__.py").write_text(MODULE.format(log=str(self._log)))

    def before(self, path: str) -> dict[str, str]:
        """Return the variables of a process that finds them before those of `path`."""
        return {"PATH": f"{self._programs}:{path}", "PYTHONPATH": str(self._modules)}

    @property
    def started(self) -> list[str]:
        """What was started, with its arguments."""
        return self._log.read_text().splitlines() if self._log.exists() else []

    def forget(self) -> None:
        """Forget what was started."""
        self._log.unlink(missing_ok=True)
