"""A container without a container engine: a root of its own over the host's, and the real boot as PID 1 in it.

The root is an overlay over the host's files, so nothing of the host is changed; the network has a loopback and
nothing else; the boot runs in a process-id namespace of its own. All of it ends with the process that holds the
namespaces.
"""

import concurrent.futures
import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HOME = "/root"

CLONE_NEWNET = 0x40000000
LAYOUT = """
set -e
ip link set lo up
mount -t tmpfs none "$1"
mkdir "$1/up" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/up,workdir=$1/work" "$1/root"
mount --rbind /dev "$1/root/dev"
mount -t tmpfs none "$1/root/dev/shm"
mount --rbind /sys "$1/root/sys"
mount -t tmpfs none "$1/root/run"
mount -t tmpfs -o mode=700 none "$1/root/root"
mkdir -p "$1/root/workspace"
mount -t tmpfs none "$1/root/workspace"
home=$1/root/root
cp "$1/root/etc/skel/.profile" "$home/.profile"
case "$2" in /root/*) mkdir -p "$1/root$2" && mount --bind "$2" "$1/root$2" ;; esac
echo ready
exec sleep infinity
"""
WAIT_SECONDS = 60.0


def why_not() -> str | None:
    """Return why no box can be made here, or None."""
    if os.geteuid() != 0:
        return "only root can make namespaces"
    missing = [name for name in ("unshare", "nsenter", "ip", "chroot") if shutil.which(name) is None]
    if missing:
        return f"{', '.join(missing)} is not installed"
    probe = ["unshare", "--mount", "--net", "--pid", "--fork", "true"]
    if subprocess.run(probe, capture_output=True, timeout=20).returncode != 0:
        return "this machine makes no namespaces"
    return None


@dataclass
class Box:
    """A container's disk. `start` boots it; `first` is the boot under way, PID 1 within."""

    folder: Path
    holder: subprocess.Popen[str]
    environ: dict[str, str] = field(default_factory=dict)
    booted: "Boot | None" = None

    @property
    def root(self) -> Path:
        """The container's / as this process reaches it."""
        return Path(f"/proc/{self.holder.pid}/root{self.folder}/root")

    def path(self, inside: str) -> Path:
        return self.root / inside.lstrip("/")

    def put(self, inside: str, text: str, mode: int = 0o644) -> None:
        """Write a file in the container."""
        place = self.path(inside)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        place.chmod(mode)

    def mount(self, *arguments: str) -> None:
        """Run mount(8) on paths of the container; `{}` stands for its root."""
        argv = [word.replace("{}", f"{self.folder}/root") for word in arguments]
        subprocess.run(["nsenter", "-t", str(self.holder.pid), "-m", "mount", *argv], check=True, timeout=20)

    def start(self, *, as_first: bool = True, cwd: str = "/workspace", **environ: str) -> "Boot":
        """Boot the container in `cwd`; with `as_first` off, a shell is PID 1, for some seconds longer."""
        self.booted = Boot(self, self.environ | environ, as_first, cwd)
        return self.booted

    def run(self, *argv: str, seconds: float = 60, **more: Any) -> subprocess.CompletedProcess[str]:
        """Run a command beside PID 1, as `docker exec` does."""
        assert self.booted is not None
        enter = ["nsenter", "-t", str(self.booted.first), "-m", "-p", "-n", "-r", "-w"]
        clean = ["env", "-i", *(f"{name}={value}" for name, value in self.booted.environ.items())]
        return subprocess.run(
            [*enter, *clean, *argv], capture_output=True, text=True, timeout=seconds, **more
        )

    def ok(self, *argv: str, **more: Any) -> str:
        """Run a command that must end well; return what it printed."""
        done = self.run(*argv, **more)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def inside(self, act: Callable[[], Any], seconds: float = 60) -> Any:
        """Call a function on a thread that is in the container's network."""

        def enter() -> None:
            with Path(f"/proc/{self.holder.pid}/ns/net").open() as namespace:
                assert ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), CLONE_NEWNET) == 0

        with concurrent.futures.ThreadPoolExecutor(1, initializer=enter) as thread:
            return thread.submit(act).result(seconds)


class Boot:
    """One boot of a box: the container's log, line by line, and PID 1."""

    def __init__(self, box: Box, environ: dict[str, str], as_first: bool, cwd: str) -> None:
        self.box, self.environ = box, environ
        self.log_file = Path(tempfile.mkstemp(prefix="boot-", suffix=".log", dir=box.folder.parent)[1])
        within = 'mount -t proc proc "$0/proc"; root=$0; exec chroot "$root" env -C "$@"'
        argv = [
            *("nsenter", "-t", str(box.holder.pid), "-m", "-n"),
            *("unshare", "--pid", "--fork", "--kill-child", "--mount", "--propagation", "private"),
            *("sh", "-c", within, f"{box.folder}/root", cwd, "-i"),
            *(f"{name}={value}" for name, value in environ.items()),
            *(() if as_first else ("sh", "-c", '"$@"; sleep 20', "sh")),
            *(sys.executable, "-P", "-m", "musabi.pod.boot"),
        ]
        self.began = time.monotonic()
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen(argv, stdout=log, stderr=subprocess.STDOUT, cwd="/")

    @property
    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    @property
    def first(self) -> int:
        """PID 1's id on the host."""
        children = wait_for(lambda: _children(self.process.pid), what="PID 1")
        return int(children[0])

    def wait_for_log(self, text: str, seconds: float = WAIT_SECONDS) -> str:
        """Wait until the log holds `text`; return the log."""

        def found() -> str | None:
            log = self.log
            assert self.process.poll() is None or text in log, f"the boot ended:\n{log}"
            return log if text in log else None

        return str(wait_for(found, seconds, lambda: f"{text!r} in the log:\n{self.log}"))

    def ready(self, seconds: float = WAIT_SECONDS) -> "Boot":
        """Wait until JupyterLab answers."""
        self.wait_for_log("JupyterLab answers after", seconds)
        return self

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.first, number)

    def end(self, seconds: float = 20) -> int:
        """Ask the boot to end, as `docker stop` does; return its exit code."""
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
        return self.process.wait(timeout=seconds)

    def processes(self) -> dict[int, str]:
        """Return the command lines of all processes in the container, by their ids on the host."""
        space = Path(f"/proc/{self.first}/ns/pid").readlink()
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if (folder / "ns" / "pid").readlink() == space:
                    command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    found[int(folder.name)] = command
        return found

    def named(self, text: str) -> list[int]:
        """Return the ids of the processes whose command line holds `text`."""
        return [pid for pid, command in self.processes().items() if text in command]


def _children(pid: int) -> list[str]:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return []


def wait_for(
    condition: Callable[[], Any], seconds: float = WAIT_SECONDS, what: str | Callable[[], str] = "something"
) -> Any:
    """Wait until a condition holds; return its value."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited in vain for {what if isinstance(what, str) else what()}"
        time.sleep(0.05)
    return value


@contextlib.contextmanager
def open_box(folder: Path, **environ: str) -> Iterator[Box]:
    """Make a box under `folder`; end everything in it afterwards."""
    place = folder / "box"
    place.mkdir()
    argv = ["unshare", "--mount", "--net", "--propagation", "private", "sh", "-c", LAYOUT, "sh", str(place)]
    argv.append(sys.base_prefix)  # the interpreter may lie in the home folder, which a box has of its own
    holder = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    box = Box(place, holder)
    box.environ = {
        "PATH": f"{Path(sys.executable).parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root",
        "LANG": "C.UTF-8",
        "WORKSPACE": "/workspace",
        "MUSABI_STATE_DIR": "/var/lib/musabi",
        "RUN_BOOTSTRAP_ON_START": "0",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(Path(__file__).parents[3] / "src"),
    } | environ
    try:
        assert holder.stdout is not None and holder.stdout.readline() == "ready\n"
        yield box
    finally:
        if box.booted is not None and box.booted.process.poll() is None:
            with contextlib.suppress(OSError, AssertionError):
                os.kill(box.booted.first, signal.SIGKILL)
            box.booted.process.wait(timeout=20)
        holder.kill()
        holder.wait(timeout=20)
