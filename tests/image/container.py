"""A container of a built image: its entrypoint is PID 1, its sockets, processes and /dev are its own."""

import contextlib
import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from image.network import Network, network
from image.store import Store

# Run as PID 1 of the new namespaces, in the machine's own root; becomes the entrypoint.
START = r"""
root=$1 volume=$2 folder=$3
shift 3
mount -t proc proc "$root/proc"
mount --bind -o ro /sys "$root/sys"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for node in null zero full random urandom tty; do
    touch "$root/dev/$node"
    mount --bind "/dev/$node" "$root/dev/$node"
done
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$root/dev/pts"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
mount --bind "$volume" "$root/workspace"
hostname container
exec chroot "$root" /bin/sh -c 'cd "$1" && shift && exec "$@"' start "$folder" "$@"
"""
HOSTS = "127.0.0.1 localhost\n::1 localhost ip6-localhost\n127.0.0.1 container\n"
LISTENING = "0A"
WAIT_SECONDS = 60.0


@dataclass(frozen=True)
class Process:
    """A process of a container. `pid` is its number inside, `outside` the machine's."""

    pid: int
    outside: int
    state: str
    argv: tuple[str, ...]
    environment: Mapping[str, str]


@dataclass(frozen=True)
class Listener:
    """A socket that waits for connections."""

    address: str
    port: int

    @property
    def is_loopback(self) -> bool:
        return self.address.startswith("127.") or self.address == "::1"


class Container:
    """One container, from its boot on. `root` is its file system, as this machine sees it."""

    def __init__(
        self,
        root: Path,
        config: Mapping[str, Any],
        volume: Path,
        net: Network,
        log: Path,
        given: Mapping[str, str],
    ) -> None:
        self.root = root
        self.volume = volume
        self.network = net
        self.environment = dict(row.split("=", 1) for row in config["Env"]) | {"HOME": "/root"} | dict(given)
        self._log = log
        (root / "etc/hosts").write_text(HOSTS)
        argv = [*(config["Entrypoint"] or ()), *(config["Cmd"] or ())]
        unshare = ["unshare", "--pid", "--fork", "--kill-child", "--mount", "--uts"]
        start = ["/bin/sh", "-euc", START, "start", str(root), str(volume), config["WorkingDir"] or "/"]
        with log.open("wb") as out:
            self._unshare = subprocess.Popen(
                ["nsenter", f"--net={net.path}", *unshare, *start, *argv],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.begun = time.monotonic()
        self.init = self._wait_for_init()
        self._namespace = Path(f"/proc/{self.init}/ns/pid").stat().st_ino

    def _wait_for_init(self) -> int:
        children = Path(f"/proc/{self._unshare.pid}/task/{self._unshare.pid}/children")
        init = int(self.wait(lambda: children.read_text().split(), 10)[0])
        # Until the entrypoint runs, the process is START, in this machine's root.
        self.wait(lambda: b"\0start\0" not in Path(f"/proc/{init}/cmdline").read_bytes(), 10)
        return init

    def wait(self, look: Callable[[], Any], limit_s: float = WAIT_SECONDS) -> Any:
        """Return what `look` returns as soon as that is something; an OSError counts as nothing yet."""
        deadline = time.monotonic() + limit_s
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                if found := look():
                    return found
            if not self.is_running and self._unshare.returncode is not None:
                raise AssertionError(
                    f"the container ended ({self._unshare.returncode}):\n{self.logs[-4000:]}"
                )
            time.sleep(0.02)
        raise AssertionError(f"nothing within {limit_s} s:\n{self.logs[-4000:]}")

    @property
    def is_running(self) -> bool:
        return self._unshare.poll() is None

    @property
    def code(self) -> int | None:
        """The exit code of PID 1, once it has ended."""
        return self._unshare.poll()

    @property
    def logs(self) -> str:
        """What the container wrote to its output."""
        return self._log.read_text(errors="replace")

    def path(self, inside: str) -> Path:
        """Return where a file of the container lies on this machine; the volume's are under `volume`."""
        if inside.startswith("/workspace"):
            return self.volume / inside.removeprefix("/workspace").lstrip("/")
        return self.root / inside.lstrip("/")

    def exec(
        self, *argv: str, limit_s: float = 60, environment: Mapping[str, str] | None = None, **options: Any
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command in the container, with the environment that it was started with."""
        enter = ["nsenter", f"--target={self.init}", "--mount", "--uts", "--net", "--pid", "--root", "--wd"]
        return subprocess.run(
            [*enter, *argv],
            env=self.environment | dict(environment or {}),
            capture_output=True,
            text=True,
            timeout=limit_s,
            check=False,
            **options,
        )

    def get(self, port: int, path: str, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
        """Ask a server in the container for a page: (status, body)."""
        return self.network.get(port, path, headers)

    @property
    def processes(self) -> list[Process]:
        """All processes of the container, by their number in it."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if (folder / "ns/pid").stat().st_ino == self._namespace:
                    found.append(_process(folder))
        return sorted(found, key=lambda process: process.pid)

    @property
    def listeners(self) -> set[Listener]:
        """All TCP sockets of the container that wait for connections."""
        found = set()
        for name in ("tcp", "tcp6"):
            for line in Path(f"/proc/{self.init}/net/{name}").read_text().splitlines()[1:]:
                _, local, _, state, *_ = line.split()
                if state == LISTENING:
                    found.add(_listener(local))
        return found

    def stop(self, limit_s: float = 15) -> float:
        """Ask PID 1 to end, as a platform does, and return how many seconds it took.

        Raises:
            TimeoutExpired: it did not end in time.
        """
        begun = time.monotonic()
        os.kill(self.init, signal.SIGTERM)
        self._unshare.wait(timeout=limit_s)
        return time.monotonic() - begun

    def kill(self) -> None:
        """End the container at once, as a platform does where nobody answered."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.init, signal.SIGKILL)
        self._unshare.wait(timeout=15)


def _process(folder: Path) -> Process:
    status = dict(
        line.split(":\t", 1) for line in (folder / "status").read_text().splitlines() if ":\t" in line
    )
    rows = (folder / "environ").read_bytes().decode(errors="replace").split("\0")
    argv = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
    return Process(
        pid=int(status["NSpid"].split()[-1]),
        outside=int(folder.name),
        state=status["State"][0],
        argv=tuple(argv[:-1]),
        environment=dict(row.split("=", 1) for row in rows if "=" in row),
    )


def _listener(local: str) -> Listener:
    """Read an address of /proc/net/tcp: hexadecimal, each group of four bytes the wrong way round."""
    import ipaddress

    text, port = local.split(":")
    raw = b"".join(bytes.fromhex(word)[::-1] for word in re.findall(".{8}", text))
    address = ipaddress.ip_address(raw)
    mapped = getattr(address, "ipv4_mapped", None)
    return Listener(str(mapped or address), int(port, 16))


@contextlib.contextmanager
def container(
    store: Store,
    image: str,
    volume: Path,
    environment: Mapping[str, str] | None = None,
    net: Network | None = None,
    prepare: Callable[[Path], None] | None = None,
) -> Iterator[Container]:
    """Yield a booted container on a volume; its own disk is thrown away afterwards.

    With `net`, it joins a network in which a test has started peers already. `prepare` is given the container's
    root before the boot.
    """
    with contextlib.ExitStack() as stack:
        root = stack.enter_context(store.mounted(image))
        net = net or stack.enter_context(network())
        if prepare is not None:
            prepare(root)
        log = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=store.folder))) / "log"
        made = Container(root, store.config(image), volume, net, log, environment or {})
        stack.callback(made.kill)
        yield made
