"""What a stage of the bootstrap is, and what it works with."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from musabi.children import Cancelled, Outcome, run
from musabi.errors import MachineError
from musabi.pod.bootstrap.options import BootstrapOptions
from musabi.pod.bootstrap.state import StateFile

Facts = dict[str, Any]


@dataclass(frozen=True)
class Proof:
    """Whether what a stage made is still there, and what a person should know about it."""

    holds: bool
    note: str | None = None


@dataclass
class Context:
    """What all stages share. `facts` holds what finished stages found out, by stage."""

    options: BootstrapOptions
    volume: StateFile
    machine: StateFile
    facts: dict[str, Facts] = field(default_factory=dict)
    cancel: threading.Event = field(default_factory=threading.Event)
    log: Callable[[str], None] = lambda _line: None


@dataclass
class Work:
    """One stage at work: `say` gives it a message, `moved` its bytes (here, in all)."""

    context: Context
    say: Callable[[str], None] = lambda _text: None
    moved: Callable[[int, int], None] = lambda _here, _total: None

    @property
    def options(self) -> BootstrapOptions:
        return self.context.options

    def run(self, argv: list[str], limit_s: float | None = None, **environment: str) -> Outcome:
        """Run a child of this stage, its output in the bootstrap's log.

        Raises:
            MachineError: the program is not there.
        """
        self.context.log("$ " + " ".join(argv))
        try:
            return run(
                argv,
                self.options.child_environment | environment,
                log=self.context.log,
                cancel=self.context.cancel,
                limit_s=limit_s,
            )
        except FileNotFoundError:
            raise MachineError(
                f"{argv[0]} is not installed here. Install it and run musabi bootstrap again."
            ) from None

    def pause(self, seconds: float) -> None:
        """Wait before another attempt.

        Raises:
            Cancelled: the bootstrap was called off.
        """
        if self.context.cancel.wait(seconds):
            raise Cancelled


@dataclass(frozen=True)
class Stage:
    """A stage. It is skipped where `depends_on` hashes to what it was done for and `proof` holds.

    `home` says where what it makes lies: on the volume or on this machine's disk. `run` returns facts, which
    are kept for its proof and for later stages.
    """

    name: str
    after: tuple[str, ...]
    home: Literal["volume", "machine"]
    depends_on: Callable[[Context], Any]
    proof: Callable[[Context, Facts], Proof]
    run: Callable[[Work], Facts]

    def state(self, context: Context) -> StateFile:
        return context.volume if self.home == "volume" else context.machine


def last_line(outcome: Outcome) -> str:
    """Return the line of a child's output that most likely says why it failed, without a full stop."""
    if outcome.ended is not None:
        return outcome.ended
    lines = [line.strip(UV_FRAME) for line in outcome.tail if line.strip()]
    telling = [line for line in lines if line.lower().startswith(TELLING)]
    return (telling or lines or [f"exit code {outcome.code}"])[-1].rstrip(".")


def is_disk_full(outcome: Outcome) -> bool:
    """Tell whether a child failed because the disk is full."""
    text = outcome.text.lower()
    return "no space left" in text or "disk quota exceeded" in text


def is_network(outcome: Outcome) -> bool:
    """Tell whether a child failed on the network, so that another attempt can help."""
    text = outcome.text.lower()
    return any(sign in text for sign in NETWORK_SIGNS)


TELLING = ("error", "fatal", "caused by", "cause", "because")
# uv draws its errors with these.
UV_FRAME = " \t\u00d7\u2570\u2500\u25b6\u251c"
NETWORK_SIGNS = (
    "could not resolve host",
    "connection reset",
    "failed to connect",
    "couldn't connect",
    "connection refused",
    "connection timed out",
    "operation timed out",
    "early eof",
    "rpc failed",
    "the remote end hung up",
    "failed to fetch",
    "error sending request",
    "dns error",
    "ssl_error",
    "gnutls",
    "503",
    "502",
    "429",
)
