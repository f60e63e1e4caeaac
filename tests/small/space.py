"""A workspace, and the program run in it as a person runs it."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass
class Space:
    """A workspace and the program run in it."""

    root: Path
    environment: dict[str, str]

    def start(self, *arguments: object, **more: Any) -> subprocess.Popen[str]:
        settings = {
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "stdin": subprocess.DEVNULL,
            "text": True,
        }
        argv = [sys.executable, "-m", "musabi", *map(str, arguments)]
        environment = self.environment | more.pop("env", {})
        return subprocess.Popen(argv, env=environment, cwd=self.root, **(settings | more))

    def run(self, *arguments: object, seconds: float = 500, **env: str) -> subprocess.CompletedProcess[str]:
        """Run a verb to its end; environment variables by name."""
        process = self.start(*arguments, env=env)
        out, err = process.communicate(timeout=seconds)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def ok(self, *arguments: object, **env: str) -> str:
        """Run a verb that must end well; return what it printed."""
        done = self.run(*arguments, **env)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def refused(self, *arguments: object, **env: str) -> tuple[int, str]:
        """Run a verb that must be refused; return its exit code and the message, without any traceback."""
        done = self.run(*arguments, **env)
        assert done.returncode != 0 and "Traceback" not in done.stderr + done.stdout, done.stderr
        return done.returncode, done.stderr.removeprefix("Error: ").strip() or done.stdout.strip()

    def status(self) -> dict[str, Any]:
        status: dict[str, Any] = json.loads(self.ok("status", "--json"))["run"]
        return status

    @property
    def output(self) -> Path:
        return self.root / "output"

    @property
    def images(self) -> Path:
        return self.root / "dataset" / "images"

    @property
    def toml(self) -> Path:
        return self.root / "dataset" / "dataset.toml"
