"""Child processes for set-up work: they never outlive this process, and their output holds no secret.

A child of a process that was killed would go on writing into the very folder that the next run repairs;
so the kernel is asked to end it with the thread that started it (prctl(2), PR_SET_PDEATHSIG). A few lines of
Python do that and become the program: asked between fork and exec, a process with threads can deadlock.
"""

import contextlib
import errno
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

# PR_SET_PDEATHSIG is 1, SIGKILL 9; Python ignores SIGPIPE, which the program must not inherit.
WITH_PARENT = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, 9)
if os.getppid() != int(sys.argv[1]):
    sys.exit(1)
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
os.execvp(sys.argv[2], sys.argv[2:])
"""
TAIL_LINES = 60
GRACE_SECONDS = 3.0
SECRET_NAME = re.compile(r"TOKEN|SECRET|PASSWORD|API_KEY|ACCESS_KEY")
NOT_SECRET = re.compile(r"_PATH$|_FILE$|_DIR$")
USER_IN_URL = re.compile(r"(?<=://)[^/@\s]+(?=@)")


@dataclass(frozen=True)
class Outcome:
    """How a child ended: its exit code (negative: the signal), its last lines, who ended it.

    `ended` is the reason that `watch` gave for ending it, or None where it ended by itself.
    """

    code: int
    tail: tuple[str, ...] = ()
    ended: str | None = None

    @property
    def done(self) -> bool:
        return self.code == 0 and self.ended is None

    @property
    def text(self) -> str:
        return "\n".join(self.tail)


class Cancelled(Exception):  # noqa: N818 - a request, not an error
    """The work was called off while a child ran; the child was ended."""


def is_secret_name(name: str) -> bool:
    """Tell whether what has this name, a variable, an option or a key, is a secret: HF_TOKEN, --api-key."""
    plain = name.upper().replace("-", "_")
    return SECRET_NAME.search(plain) is not None and NOT_SECRET.search(plain) is None


def secrets(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Return the values of an environment that must not be written anywhere.

    The longest come first: of one that begins as another does nothing is left when both are taken out.
    """
    found = (value for name, value in environment.items() if is_secret_name(name) and len(value) >= 6)
    return tuple(sorted(found, key=len, reverse=True))


def scrub(text: str, hidden: Iterable[str] = ()) -> str:
    """Return the text without the `hidden` values and without users and passwords in URLs."""
    for value in hidden:
        text = text.replace(value, "***")
    return USER_IN_URL.sub("***", text)


def run(
    argv: Sequence[str],
    environment: Mapping[str, str],
    *,
    cwd: Path | None = None,
    log: Callable[[str], None] = lambda _line: None,
    watch: Callable[[int], str | None] = lambda _pid: None,
    cancel: threading.Event | None = None,
    limit_s: float | None = None,
) -> Outcome:
    """Run a child to its end, stdout and stderr merged, each line scrubbed and given to `log`.

    `watch` is asked about five times a second, with the child's process id; a reason that it returns ends
    the child. So does `limit_s`.

    Raises:
        Cancelled: `cancel` was set; the child was ended.
        OSError: the program can't be started.
    """
    hidden = secrets(environment)
    process = start(argv, environment, cwd, subprocess.STDOUT)
    tail: deque[str] = deque(maxlen=TAIL_LINES)
    reader = threading.Thread(target=_read, args=(process, tail, log, hidden), daemon=True)
    reader.start()
    began = time.monotonic()
    ended = None
    try:
        while ended is None:
            try:
                process.wait(timeout=0.2)
                break
            except subprocess.TimeoutExpired:
                pass
            if cancel is not None and cancel.is_set():
                raise Cancelled
            if limit_s is not None and time.monotonic() - began > limit_s:
                ended = f"it took longer than {limit_s:.0f} s"
            else:
                ended = watch(process.pid)
    finally:
        _end(process)
        reader.join(timeout=2)
    return Outcome(process.returncode, tuple(tail), ended)


def ask(
    argv: Sequence[str], environment: Mapping[str, str], *, cwd: Path | None = None, limit_s: float = 60
) -> str | None:
    """Return what a short command prints on stdout, or None where it fails, is missing or takes too long.

    The command must be one that only looks: nobody ends it where this process is killed.
    """
    try:
        process = _start(argv, environment, cwd, subprocess.DEVNULL)
    except OSError:
        return None
    try:
        answer, _ = process.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        return None
    finally:
        _end(process)
    return answer.decode(errors="replace") if process.returncode == 0 else None


def start(
    argv: Sequence[str], environment: Mapping[str, str], cwd: Path | None, stderr: int
) -> subprocess.Popen[bytes]:
    """Start a child in a session of its own that ends when the thread that started it does.

    Raises:
        OSError: the program can't be started.
    """
    if shutil.which(argv[0], path=environment.get("PATH")) is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), argv[0])
    launcher = (sys.executable, "-I", "-S", "-c", WITH_PARENT, str(os.getpid()))
    return _start((*launcher, *argv), environment, cwd, stderr)


def _start(
    argv: Sequence[str], environment: Mapping[str, str], cwd: Path | None, stderr: int
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        list(argv),
        env=dict(environment),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=stderr,
        start_new_session=True,
    )


def _read(
    process: subprocess.Popen[bytes], tail: deque[str], log: Callable[[str], None], hidden: tuple[str, ...]
) -> None:
    for raw in process.stdout or ():
        line = scrub(raw.decode(errors="replace").rstrip(), hidden)
        if line:
            tail.append(line)
            log(line)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the child's whole group, whether or not the child itself has ended."""
    if process.poll() is None:
        signal_group(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=GRACE_SECONDS)
    signal_group(process.pid, signal.SIGKILL)
    process.wait()


def signal_group(group: int, number: signal.Signals) -> None:
    """Send a signal to a whole process group, if it is still there."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)
