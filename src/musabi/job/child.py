"""One child process in a session of its own, its output read without blocking, ended as a group."""

import codecs
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from musabi.children import signal_group, start

TERM_SECONDS = 10.0


class Child:
    """A running step. stdout and stderr come merged, in pieces as they are written."""

    def __init__(self, argv: Sequence[str], env: Mapping[str, str], cwd: Path | None) -> None:
        self._process = start(argv, env, cwd, subprocess.STDOUT)
        if self._process.stdout is None:
            raise RuntimeError("the child was started without a pipe")
        self._pipe = self._process.stdout
        os.set_blocking(self._pipe.fileno(), False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._pipe, selectors.EVENT_READ)
        self._open = True
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def read(self, timeout: float) -> str:
        """Return what was written within `timeout` seconds; empty where nothing was."""
        if not self._open:
            time.sleep(min(timeout, 0.05))
            return ""
        if not self._selector.select(timeout):
            return ""
        data = self._pipe.read(65536)
        if data == b"":
            self._open = False
        return self._decoder.decode(data or b"")

    def poll(self) -> int | None:
        """Return the exit code once the process has ended and all its output was read."""
        code = self._process.poll()
        if code is None:
            return None
        return None if self._open and self._selector.select(0) else code

    def terminate(self) -> None:
        """Ask the whole group to end."""
        signal_group(self._process.pid, signal.SIGTERM)

    def kill(self) -> None:
        """End the whole group at once."""
        signal_group(self._process.pid, signal.SIGKILL)

    def end(self, patience: float = TERM_SECONDS) -> int:
        """End the group: SIGTERM, after `patience` seconds SIGKILL. Return the exit code."""
        self.terminate()
        deadline = time.monotonic() + patience
        while self._process.poll() is None and time.monotonic() < deadline:
            self.read(0.2)
        self.kill()
        return self._process.wait()

    def close(self) -> None:
        """End what is left of the group and close the pipe."""
        self.kill()
        self._process.wait()
        self._selector.close()
        self._pipe.close()
