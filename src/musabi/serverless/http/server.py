"""`musabi serve` put together: queue, GPUs, webhooks and HTTP, from the start to the end of the process."""

import os
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from musabi.errors import ExitCode, MachineError
from musabi.job.facts import MachineFacts
from musabi.job.gpus import VISIBLE, one_each
from musabi.serverless.attempt import COMMAND, SAVE_SECONDS
from musabi.serverless.http.auth import require_loopback_or_key, require_plain_key
from musabi.serverless.http.service import Service, status_answer
from musabi.serverless.http.webhook import Webhooks
from musabi.serverless.places import Places
from musabi.serverless.queue.dispatch import RESTART_SECONDS, Dispatcher, Work
from musabi.serverless.queue.reaper import Reaper
from musabi.serverless.queue.store import Store
from musabi.serverless.queue.stream import Streams
from musabi.serverless.queue.vault import Vault
from musabi.serverless.settings import EndpointSettings
from musabi.watch.serving import leave_note, take_note_back, url_of

if TYPE_CHECKING:
    import uvicorn

KEEP_SECONDS = 75
"""How long a silent connection is kept: longer than clients keep theirs, or one closes as the other sends."""
CLOSE_SECONDS = 5
"""How long an open request, such as a /runsync that waits, keeps the server from ending."""
NOT_FOR_JOBS = frozenset({"MUSABI_API_KEY"})


@dataclass(frozen=True)
class Options:
    """What a server is made of. `command` does a job; `host` and `port` are where it listens, 0: any port."""

    settings: EndpointSettings
    places: Places
    state_dir: Path
    machine: MachineFacts
    environ: Mapping[str, str]
    host: str
    port: int
    command: Sequence[str] = COMMAND
    patience_s: float = SAVE_SECONDS
    restart_s: float = RESTART_SECONDS


@dataclass(frozen=True)
class Parts:
    """A server's parts; `service` is what the application asks."""

    store: Store
    dispatcher: Dispatcher
    webhooks: Webhooks
    service: Service


def make_parts(options: Options, say: Callable[[str], None]) -> Parts:
    """Open the queue and make everything around it; nothing runs yet.

    Raises:
        MachineError: another server has the queue, or it can't be opened.
    """
    store = Store(options.places.database)
    vault, streams = Vault(options.state_dir / "endpoint-secrets"), Streams()
    reaper = Reaper(store, vault, options.places, options.settings.endpoint_keep_hours * 3600)
    work = Work(
        slots_of(options.machine, options.environ.get(VISIBLE)),
        {name: value for name, value in options.environ.items() if name not in NOT_FOR_JOBS},
        options.command,
        options.patience_s,
        options.restart_s,
    )
    dispatcher = Dispatcher(store, vault, streams, options.places, work, reaper, say)
    webhooks = Webhooks(store, vault, lambda job: status_answer(job, None, store.now()), say)
    most = options.settings.endpoint_most_waiting
    return Parts(
        store, dispatcher, webhooks, Service(store, vault, streams, dispatcher, options.environ, most)
    )


def slots_of(machine: MachineFacts, visible: str | None) -> tuple[Mapping[str, str], ...]:
    """Return the environment of each job that can go on at a time: one a GPU, one where there is none."""
    return tuple(share.environment for share in one_each(machine, visible)) if machine.gpus else ({},)


def serve(options: Options, say: Callable[[str], None]) -> ExitCode:
    """Listen until SIGTERM or SIGINT, then let the running jobs save; return 143 or 130.

    A second signal waits no longer: the jobs then go on by themselves, and the next server takes them up.

    Raises:
        RequestError: others could reach it without a key, or the key can't be sent.
        MachineError: the port is taken, or the queue can't be opened.
    """
    key = options.settings.musabi_api_key
    require_loopback_or_key(options.host, key)
    require_plain_key(key)
    signals = Signals()
    listener = listen(options.host, options.port)
    with listener:
        parts = make_parts(options, say)
        server = http_server(parts, key)
        signals.take_over()
        parts.dispatcher.start()
        parts.webhooks.start()
        leave_note(options.state_dir, url_of(options.host, listener.getsockname()[1]))
        say(where(listener, options, parts))
        try:
            server.run(sockets=[listener])
        finally:
            take_note_back(options.state_dir)
            close(parts, signals, say)
    return ExitCode.INTERRUPTED if signals.first is signal.SIGINT else ExitCode.TERMINATED


def http_server(parts: Parts, key: str | None) -> "uvicorn.Server":
    """Return the HTTP server; no request is logged, since an address may hold what is nobody's business."""
    import uvicorn

    from musabi.serverless.http.app import make_app

    config = uvicorn.Config(
        make_app(parts.service, key),
        log_level="warning",
        access_log=False,
        lifespan="off",
        server_header=False,
        timeout_keep_alive=KEEP_SECONDS,
        timeout_graceful_shutdown=CLOSE_SECONDS,
    )
    return uvicorn.Server(config)


def close(parts: Parts, signals: "Signals", say: Callable[[str], None]) -> None:
    """End everything; the jobs that go on save their state first."""
    running = parts.dispatcher.running
    if running:
        say(
            f"Ending. Running jobs ({running}) save their state and go on at the next start. Ctrl-C again: don't wait."
        )
    else:
        say("Ending. No job was running; what waits is taken up at the next start.")
    before = signals.count
    left = parts.dispatcher.shut_down(lambda: signals.count > before)
    if left:
        say(f"{left} jobs go on by themselves; the next musabi serve takes them up.")
    parts.webhooks.stop()
    parts.store.close()


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens.

    Raises:
        MachineError: it can't.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, OverflowError) as problem:
        reason = (
            os.strerror(problem.errno) if isinstance(problem, OSError) and problem.errno else str(problem)
        )
        raise MachineError(
            f"Can't listen on {host} port {port}: {reason}. Choose another --host or --port."
        ) from None


def where(listener: socket.socket, options: Options, parts: Parts) -> str:
    """Return what is said at the start."""
    host = f"[{options.host}]" if ":" in options.host else options.host
    who = "this machine alone" if options.settings.musabi_api_key is None else "holders of MUSABI_API_KEY"
    slots = parts.dispatcher.slots
    jobs = "1 job" if slots == 1 else f"{slots} jobs"
    return (
        f"Listening on http://{host}:{listener.getsockname()[1]} for {who}; {jobs} at a time, "
        f"in {options.places.root}."
    )


class Signals:
    """Counts SIGINT and SIGTERM. uvicorn takes them while it serves, and raises them again when it is done."""

    def __init__(self) -> None:
        self.count = 0
        self.first: signal.Signals | None = None

    def take_over(self) -> None:
        """Count from now on."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._note)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self.count += 1
        self.first = self.first or signal.Signals(number)
