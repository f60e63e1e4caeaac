"""How soon a pod answers: from its first process to /api/status, against a bare `jupyter lab`.

    python bench/boot.py [PAIRS]

Three ways, in turns, each as PID 1 of a namespace of its own with nothing but a loopback: `python -m
musabi.pod.boot`; `jupyter lab` of the same environment with the same extensions, its token in the environment;
and musabi with BOOTSTRAP_WAIT=1, which is the order that other templates have. First boots find an empty
workspace, home and state folder, later ones what the first left. Prints the medians and the ratios of the pairs;
musabi against bare is meant to be at most 1.3.

Needs root. Runs on a machine or in a container's root; /etc is overlaid, so that nothing outside is changed.
ENGINE is diffusers unless set: that bootstrap needs no network. With ENGINE=musubi, set MUSUBI_REPO_URL, the
index and the rest of what a bootstrap reads to something that answers on this machine.
"""

import fcntl
import http.client
import os
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TARGET = 1.3
LIMIT_SECONDS = 600.0
PORT = 8888
TOKEN = "a-token-of-the-benchmark"  # noqa: S105 - nothing secret
WAYS = ("musabi", "bare", "bootstrap first")
INSIDE = "MUSABI_BENCH_INSIDE"
OVERLAY = """
set -e
mount -t tmpfs none "$1"
mkdir "$1/up" "$1/work"
mount -t overlay overlay -o "lowerdir=/etc,upperdir=$1/up,workdir=$1/work" /etc
shift
exec "$@"
"""


def enter_namespaces() -> None:
    """Turn this process into itself in a mount and network namespace of its own. Returns only there."""
    if INSIDE in os.environ:
        raise_loopback()
        return
    if os.geteuid() != 0:
        sys.exit("This needs root: it makes namespaces.")
    folder = tempfile.mkdtemp(prefix="musabi-bench-etc-")
    argv = ["unshare", "--mount", "--net", "sh", "-c", OVERLAY, "sh", folder, sys.executable, *sys.argv]
    code = subprocess.run(argv, env=os.environ | {INSIDE: "1"}, check=False).returncode
    Path(folder).rmdir()
    sys.exit(code)


def raise_loopback() -> None:
    """Bring the namespace's loopback up (netdevice(7)); the image need not have ip(8)."""
    get_flags, set_flags, up = 0x8913, 0x8914, 0x1
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
        found = fcntl.ioctl(link, get_flags, struct.pack("16sh", b"lo", 0) + b"\0" * 14)
        flags = struct.unpack_from("16sh", found)[1] | up
        fcntl.ioctl(link, set_flags, struct.pack("16sh", b"lo", flags) + b"\0" * 14)


def environment(root: Path, way: str) -> dict[str, str]:
    """Return the environment of one way: its own folders under `root`."""
    made = {name: value for name, value in os.environ.items() if name != INSIDE}
    made.setdefault("ENGINE", "diffusers")
    return made | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{made['PATH']}",
        "HOME": str(root / "home"),
        "WORKSPACE": str(root / "workspace"),
        "MUSABI_STATE_DIR": str(root / "state"),
        "JUPYTER_TOKEN": TOKEN,
        "JUPYTER_PORT": str(PORT),
        "BOOTSTRAP_WAIT": str(int(way == "bootstrap first")),
    }


def command(root: Path, way: str) -> list[str]:
    """Return the command line of one way, as PID 1."""
    first = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    if way != "bare":
        return [*first, sys.executable, "-P", "-m", "musabi.pod.boot"]
    arguments = ["--allow-root", "--no-browser", "--ip=0.0.0.0", f"--port={PORT}"]
    return [*first, "jupyter", "lab", *arguments, f"--ServerApp.root_dir={root / 'workspace'}"]


def seconds(root: Path, way: str) -> float:
    """Start one way, and return the seconds until /api/status answers."""
    for name in ("home", "workspace"):
        (root / name).mkdir(parents=True, exist_ok=True)
    with (root / "log").open("wb") as log:
        begun = time.monotonic()
        process = subprocess.Popen(
            command(root, way), env=environment(root, way), stdout=log, stderr=log, cwd="/"
        )
        try:
            while not answers():
                if process.poll() is not None or time.monotonic() - begun > LIMIT_SECONDS:
                    raise RuntimeError(f"{way} did not answer:\n{(root / 'log').read_text()[-3000:]}")
                time.sleep(0.01)
            return time.monotonic() - begun
        finally:
            end(process)


def answers() -> bool:
    """Tell whether /api/status answers with 200."""
    link = http.client.HTTPConnection("127.0.0.1", PORT, timeout=10)
    try:
        link.request("GET", "/api/status", headers={"Authorization": f"token {TOKEN}"})
        return link.getresponse().status == 200
    except OSError:
        return False
    finally:
        link.close()


def end(process: "subprocess.Popen[bytes]") -> None:
    """End PID 1 and with it its namespace; wait until the port is free."""
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=30)
    until = time.monotonic() + 30
    while answers() and time.monotonic() < until:
        time.sleep(0.05)


def measure(pairs: int, *, later: bool) -> dict[str, list[float]]:
    """Return the seconds of each way. First boots have a new root each time, later ones the warm-up's."""
    taken: dict[str, list[float]] = {way: [] for way in WAYS}
    kept = {way: Path(tempfile.mkdtemp(prefix="musabi-bench-")) for way in WAYS}
    for turn in range(pairs + 1):
        for way in WAYS:
            root = kept[way] if later else Path(tempfile.mkdtemp(prefix="musabi-bench-"))
            taken[way].append(seconds(root, way))
            if not later:
                shutil.rmtree(root, ignore_errors=True)
        word = "warm-up" if turn == 0 else f"pair {turn}"
        said = ", ".join(f"{way} {taken[way][-1]:.2f} s" for way in WAYS)
        print(f"{'later' if later else 'first'} boot, {word}: {said}", flush=True)
    for root in kept.values():
        shutil.rmtree(root, ignore_errors=True)
    return {way: values[1:] for way, values in taken.items()}


def ratio(taken: dict[str, list[float]], other: str) -> float:
    """Return the median of the pairs' ratios of musabi to another way."""
    return statistics.median(a / b for a, b in zip(taken["musabi"], taken[other], strict=True))


def main() -> None:
    """Time the pairs and print what came of it."""
    enter_namespaces()
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    missed = False
    for later in (False, True):
        taken = measure(pairs, later=later)
        medians = ", ".join(f"{way} {statistics.median(values):.2f} s" for way, values in taken.items())
        print(f"{'later' if later else 'first'} boots, median of {pairs}: {medians}")
        bare, first = ratio(taken, "bare"), ratio(taken, "bootstrap first")
        print(f"ratio to bare {bare:.2f} (at most {TARGET}); ratio to bootstrap first {first:.2f}")
        missed |= bare > TARGET
    sys.exit(int(missed))


if __name__ == "__main__":
    main()
