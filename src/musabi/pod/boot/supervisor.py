"""Starts child processes, reads what they write, restarts those that must not end, and reaps every zombie.

As PID 1 a process is the parent of every orphan, so it waits for any child (waitpid(-1)) and looks up whose
end that was; subprocess.Popen, which waits for its own child by id, has no place beside it. Where it is not
PID 1, `adopt_orphans` makes it a subreaper (prctl(2)), so that nothing escapes it there either.

One thread, one loop: `turn` waits for output, for ends and for restarts that are due. A signal that asks this
process to stop comes out of `turn` as `StopAsked`, once; later ones only set `hurried`.

A service that ends is started again after 1 s, 2 s, 4 s ... at most 60 s; after 60 s alive the count begins anew.
An exit code in `final` is not answered by a restart, because the same would happen again.
"""

import contextlib
import os
import selectors
import signal
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from musabi.pod.boot.container_log import Say
from musabi.pod.boot.processes import descendants, look, table

FIRST_DELAY_SECONDS = 1.0
LONGEST_DELAY_SECONDS = 60.0
STEADY_SECONDS = 60.0
LOG_BYTES = 5_000_000
LINE_BYTES = 16_384
TAIL_LINES = 60

State = Literal["running", "starting", "failed", "done", "off"]


def how_ended(code: int) -> str:
    """Return an exit code in words; negative codes are signals."""
    if code >= 0:
        return f"exit code {code}"
    with contextlib.suppress(ValueError):
        return f"killed by {signal.Signals(-code).name}"
    return f"killed by signal {-code}"


def tell_failure(code: int) -> str | None:
    """Return what is said of a process that ran once: nothing, where it ended well."""
    return None if code == 0 else f"It failed ({how_ended(code)})."


@dataclass(frozen=True)
class Service:
    """A child process to be: a row of the pod's services.

    `restart` off means it runs once. `final` are exit codes after which it is not started again. `end_with` is
    the signal that asks it to end. `shows` picks the lines of its output that also go to the container's log;
    all go to its log file where `keeps_log`. `most_lines` bounds what the container's log gets of it. `farewell`
    words the end of one that runs once.
    """

    name: str
    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)
    cwd: Path | None = None
    restart: bool = True
    final: frozenset[int] = frozenset()
    nice: int = 0
    end_with: int = signal.SIGTERM
    shows: Callable[[str], bool] = lambda _line: True
    keeps_log: bool = True
    most_lines: int | None = None
    farewell: Callable[[int], str | None] = tell_failure


@dataclass
class Standing:
    """How a service stands. `since` is Unix seconds; `pid` is None while it does not run."""

    service: Service
    state: State = "off"
    pid: int | None = None
    since: float = 0.0
    restarts: int = 0
    message: str = ""
    code: int | None = None
    delay_s: float = FIRST_DELAY_SECONDS
    began: float = 0.0
    due: float | None = None
    shown: int = 0
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=TAIL_LINES))

    def as_json(self) -> dict[str, Any]:
        """Return what boot.json says of it."""
        return {
            "state": self.state,
            "pid": self.pid,
            "since": self.since,
            "restarts": self.restarts,
            "message": self.message,
        }


class StopAsked(Exception):  # noqa: N818 - a request, not an error
    """This process was asked to stop."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


class Supervisor:
    """The child processes of the pod.

    `say` is the container's log, `logs` the folder of the services' own, `hidden` the values that go into
    neither. `changed` is called, within `turn`, after the standing of a service changed.
    """

    def __init__(
        self, say: Say, logs: Path, hidden: list[str], changed: Callable[[], None] = lambda: None
    ) -> None:
        self.standings: dict[str, Standing] = {}
        self.hurried = False
        self._say, self._logs, self._hidden, self._changed = say, logs, hidden, changed
        self._asked: int | None = None
        self._told = False
        self._ending = False
        self._dirty = False
        self._selector = selectors.DefaultSelector()
        wake, poke = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(poke, warn_on_full_buffer=False)
        self._selector.register(wake, selectors.EVENT_READ, lambda: self._drain(wake))
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_stop)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)

    def start(self, service: Service) -> Standing:
        """Start a service; where one of that name stood, it is replaced in the books."""
        standing = self.standings[service.name] = Standing(service)
        self._launch(standing)
        return standing

    def note(self, name: str, state: State, message: str) -> None:
        """Enter how something stands that has no process of its own."""
        nobody = Service(name, (), {})
        self.standings[name] = Standing(nobody, state, since=time.time(), message=message)
        self._dirty = True

    def run(self, service: Service, *, slow_s: float | None = None, slow: str = "") -> Standing:
        """Start a service that runs once, and keep turning until it has ended, also where its start was put off.

        Raises:
            StopAsked: this process was asked to stop meanwhile.
        """
        standing = self.start(service)
        late = None if slow_s is None else time.monotonic() + slow_s
        while standing.pid is not None or standing.due is not None:
            self.turn(0.5)
            if late is not None and standing.pid is not None and time.monotonic() > late:
                self._say(service.name, slow)
                late = None
        return standing

    def turn(self, limit_s: float = 60.0) -> None:
        """Wait at most `limit_s` for something to happen and deal with it.

        Raises:
            StopAsked: this process was asked to stop; once.
        """
        self._stop_if_asked()
        now = time.monotonic()
        for standing in self.standings.values():
            if standing.due is not None and standing.due <= now and not self._ending:
                standing.restarts += 1
                self._launch(standing)
        dues = [standing.due - now for standing in self.standings.values() if standing.due is not None]
        if self._dirty:
            self._dirty = False
            self._changed()
        for key, _ in self._selector.select(max(0.0, min([limit_s, *dues]))):
            key.data()
        self._reap()
        self._stop_if_asked()

    def end(self, until: float) -> None:
        """Ask every service to end and turn until all have, until `until` (monotonic) or a hurry."""
        self._ending = True
        for standing in self.standings.values():
            standing.due = None
            if standing.pid is not None:
                _signal_group(standing.pid, standing.service.end_with)
        while time.monotonic() < until and not self.hurried and any(s.pid for s in self.standings.values()):
            self.turn(0.05)

    def kill_all(self, limit_s: float = 0.5) -> set[int]:
        """End every process below this one at once; return those that are still there after `limit_s`."""
        until = time.monotonic() + limit_s
        while left := self.left():
            for pid in left:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            if time.monotonic() > until:
                return left
            self.turn(0.01)
        return set()

    def left(self) -> set[int]:
        """Return the ids of the processes that this one answers for: as PID 1 all, else those below it."""
        mine = os.getpid()
        processes = table()
        if mine != 1:
            return descendants(mine, processes)
        return processes.keys() - {mine}

    def _launch(self, standing: Standing) -> None:
        standing.due, standing.code, standing.message = None, None, ""
        try:
            reading, writing = os.pipe2(os.O_CLOEXEC)
        except OSError as error:
            self._put_off(standing, error)
            return
        try:
            standing.pid = _spawn(standing.service, writing)
        except OSError as error:  # no process may be made now; where that is why a service ended, it passes
            os.close(reading)
            self._put_off(standing, error)
            return
        finally:
            os.close(writing)
        os.set_blocking(reading, False)
        reader = _Reader(reading, lambda text: self._take(standing, text), self._selector)
        self._selector.register(reading, selectors.EVENT_READ, reader.read)
        standing.began, standing.since, standing.state = time.monotonic(), time.time(), "running"
        self._dirty = True

    def _put_off(self, standing: Standing, error: OSError) -> None:
        """Try again later what could not be started."""
        standing.state, standing.message = "starting", f"It could not be started: {error.strerror}."
        standing.due = time.monotonic() + standing.delay_s
        standing.delay_s = min(2 * standing.delay_s, LONGEST_DELAY_SECONDS)
        self._say(standing.service.name, standing.message)
        self._dirty = True

    def _take(self, standing: Standing, text: str) -> None:
        """Note one line of a service's output."""
        for value in self._hidden:
            text = text.replace(value, "***")
        standing.tail.append(text)
        service = standing.service
        if service.keeps_log:
            _append(self._logs / f"{service.name}.log", text)
        if self._ending or not service.shows(text):
            return
        standing.shown += 1
        most = service.most_lines
        if most is None or standing.shown <= most:
            self._say(service.name, text)
        elif standing.shown == most + 1:
            self._say(service.name, f"(more is in {self._logs / service.name}.log)")

    def _reap(self) -> None:
        """Take note of every child that has ended, whoever started it."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for standing in self.standings.values():
                if standing.pid == pid:
                    self._ended(standing, os.waitstatus_to_exitcode(status))

    def _ended(self, standing: Standing, code: int) -> None:
        self._drain_pipes()
        service, alive = standing.service, time.monotonic() - standing.began
        standing.pid, standing.code, standing.since, self._dirty = None, code, time.time(), True
        why = how_ended(code)
        said = f"{why}: {standing.tail[-1]}" if standing.tail else why
        if self._ending or not service.restart or code in service.final:
            standing.state = "done" if code == 0 or self._ending else "failed"
            standing.message = "" if standing.state == "done" else said
            words = f"It ended ({why})." if service.restart else service.farewell(code)
            if words and not self._ending:
                self._say(service.name, words)
            return
        if alive >= STEADY_SECONDS:
            standing.delay_s = FIRST_DELAY_SECONDS
        standing.state, standing.message = "starting", said
        standing.due = time.monotonic() + standing.delay_s
        self._say(service.name, f"It ended ({why}) and starts again in {standing.delay_s:.0f} s.")
        standing.delay_s = min(standing.delay_s * 2, LONGEST_DELAY_SECONDS)

    def _drain_pipes(self) -> None:
        """Read what is there, so that the last words of a process come before its end."""
        for key, _ in self._selector.select(0):
            key.data()

    def _on_stop(self, number: int, _frame: object) -> None:
        self.hurried = self._asked is not None
        self._asked = number

    def _stop_if_asked(self) -> None:
        if self._asked is not None and not self._told:
            self._told = True
            raise StopAsked(self._asked)

    def _drain(self, wake: int) -> None:
        with contextlib.suppress(BlockingIOError):
            while os.read(wake, 4096):
                pass


class _Reader:
    """Reads a pipe line by line without blocking; closes it at its end."""

    def __init__(self, pipe: int, take: Callable[[str], None], selector: selectors.BaseSelector) -> None:
        self._pipe, self._take, self._selector = pipe, take, selector
        self._rest = b""

    def read(self) -> None:
        try:
            data = os.read(self._pipe, 65536)
        except BlockingIOError:
            return
        lines = (self._rest + data).replace(b"\r", b"\n").split(b"\n")
        self._rest = lines.pop()
        if len(self._rest) > LINE_BYTES or not data:
            lines, self._rest = [*lines, self._rest], b""
        for raw in lines:
            if text := raw[:LINE_BYTES].decode(errors="replace").rstrip():
                self._take(text)
        if not data:
            self._selector.unregister(self._pipe)
            os.close(self._pipe)


def adopt_orphans() -> None:
    """Make this process the parent of its orphaned descendants, as PID 1 is by nature."""
    if os.getpid() != 1:
        import ctypes

        subreaper = 36  # PR_SET_CHILD_SUBREAPER, linux/prctl.h
        ctypes.CDLL(None).prctl(subreaper, 1, 0, 0, 0)


def is_alive(pid: int, started: float | None = None) -> bool:
    """Tell whether a process is there, and where `started` is known whether it is that very one."""
    found = look(pid)
    return found is not None and started in (None, found.started)


def _spawn(service: Service, output: int) -> int:
    """Fork and become the service, in a session of its own.

    Safe: this process has one thread, and beside it at most one that waits for a volume and holds no lock.
    """
    pid = os.fork()
    if pid:
        return pid
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        if service.nice:
            os.nice(service.nice)
        if service.cwd is not None:
            os.chdir(service.cwd)
        os.execvpe(service.argv[0], service.argv, dict(service.environment))  # noqa: S606 - no shell is wanted
    except OSError as error:
        os.write(2, f"{service.argv[0]} can't be started: {error.strerror}.\n".encode())
    finally:
        os._exit(127)


def _signal_group(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _append(path: Path, text: str) -> None:
    """Add a line to a service's log; a full one makes way. A full disk must not end the pod."""
    stamped = f"{time.strftime('%H:%M:%S')} {text}\n".encode()
    with contextlib.suppress(OSError):
        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if os.fstat(file).st_size + len(stamped) > LOG_BYTES:
                path.replace(path.with_suffix(".old.log"))
                os.close(file)
                file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            os.write(file, stamped)
        finally:
            os.close(file)
