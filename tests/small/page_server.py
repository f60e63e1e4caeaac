"""The run page's server as a person starts it, and headless windows that look at it."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

START = ("-m", "musabi", "page", "--no-browser", "--port", "0")
ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+/\?token=\S+")
MOST_SECONDS = 30.0
KEEP = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV", "PYTHONPATH", "LD_LIBRARY_PATH")


@dataclass
class PageServer:
    """A running server: `login` is the address that it printed, `root` its workspace."""

    root: Path
    login: str
    process: "subprocess.Popen[str]"
    said: list[str] = field(default_factory=list)

    @property
    def address(self) -> str:
        return self.login.partition("?")[0]

    def cpu_seconds(self) -> float:
        """Return the processor time that the server took since its start."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def page_server(root: Path, environ: Mapping[str, str]) -> Iterator[PageServer]:
    """Start the server on a workspace; it and what the page started in it end with the block."""
    own = {name: os.environ[name] for name in KEEP if name in os.environ}
    env = own | {"WORKSPACE": str(root), "MUSABI_STATE_DIR": f"{root}-state", "MUSABI_TEST_PAGE": str(root)}
    env |= environ
    process = subprocess.Popen(
        [sys.executable, *START], env=env, cwd=root, stdin=subprocess.DEVNULL, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    server = PageServer(root, "", process)
    threading.Thread(target=_listen, args=(server,), daemon=True).start()
    try:
        until = time.monotonic() + MOST_SECONDS
        while not server.login and time.monotonic() < until and process.poll() is None:
            time.sleep(0.02)
        assert server.login, f"the run page did not start: {server.said}"
        yield server
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
        end_all_of(root)


def _listen(server: PageServer) -> None:
    for line in server.process.stdout or ():
        server.said.append(line.rstrip())
        if (found := ADDRESS.search(line)) and not server.login:
            server.login = found[0]


def end_all_of(root: Path) -> None:
    """End every process that the server of this workspace started: they bear its name in their environment."""
    mark = f"MUSABI_TEST_PAGE={root}".encode()
    for _ in range(50):
        found = [int(path.parent.name) for path in Path("/proc").glob("[0-9]*/environ") if _holds(path, mark)]
        if not found:
            return
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.1)


def _holds(environ: Path, mark: bytes) -> bool:
    try:
        return mark in environ.read_bytes().split(b"\0")
    except OSError:
        return False


@dataclass
class Window:
    """A page in a context of its own, and what its console said."""

    page: Any
    server: PageServer
    errors: list[str] = field(default_factory=list)
    allowed: list[str] = field(default_factory=list)

    def allow(self, text: str) -> None:
        """Console lines with this in them are meant to come."""
        self.allowed.append(text)

    def wrong(self) -> list[str]:
        """Return what the console said that was not meant to come."""
        return [line for line in self.errors if not any(text in line for text in self.allowed)]


@contextmanager
def window(
    browser: Any, server: PageServer, width: int = 1440, height: int = 900, *, dark: bool = False,
    address: str = "",
) -> Iterator[Window]:  # fmt: skip
    """Open a window that is logged in. It reaches this machine only; its console is listened to."""
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme="dark" if dark else "light",
        accept_downloads=True,
        reduced_motion="reduce",
    )
    context.set_default_timeout(15_000)
    context.route(re.compile(r"^https?://(?!127\.0\.0\.1[:/])"), lambda route: route.abort())
    own = Window(context.new_page(), server)
    listen(own, own.page)
    try:
        own.page.goto(address or server.login)
        yield own
    finally:
        context.close()


def listen(own: Window, page: Any) -> None:
    """Take down what a page's console says."""
    page.on("console", lambda line: own.errors.append(line.text) if line.type == "error" else None)
    page.on("pageerror", lambda problem: own.errors.append(str(problem)))
