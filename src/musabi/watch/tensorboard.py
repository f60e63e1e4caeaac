"""`musabi tensorboard`: TensorBoard on a run's logs, on loopback unless told otherwise."""

import importlib.util
import os
import socket
import sys
from pathlib import Path

from musabi.errors import MachineError
from musabi.watch.scalars import event_files


def command(python: Path, logdir: Path, host: str, port: int) -> tuple[str, ...]:
    """Return the command line of TensorBoard. It has no login: `host` decides who can look."""
    # -P: a file in the workspace must not stand in for a module of Python's.
    return (
        str(python), "-P", "-m", "tensorboard.main", "--logdir", str(logdir), "--host", host, "--port", str(port),
    )  # fmt: skip


def require_free(host: str, port: int) -> None:
    """Raise a MachineError where nothing can listen at `host` and `port`."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise MachineError(
            f"TensorBoard can't listen at {host}:{port} ({error.strerror or error}). It may be running "
            "there already; else choose another port with --port or TENSORBOARD_PORT."
        ) from error


def remark(logdir: Path) -> str | None:
    """Return what a person should know about the folder before looking, or None."""
    if not logdir.is_dir():
        found = f"{logdir} is not there yet."
    elif not event_files(logdir):
        found = f"No event files under {logdir} yet."
    else:
        return None
    return f"{found} TensorBoard shows the curves as soon as a training writes them."


def start(logdir: Path, host: str, port: int) -> None:
    """Turn this process into TensorBoard. Returns only by raising.

    Raises:
        MachineError: TensorBoard is not installed here, or the port is taken.
    """
    if importlib.util.find_spec("tensorboard") is None:
        raise MachineError(
            "TensorBoard is not installed here. Run scripts/setup.sh pod in musabi's checkout."
        )
    require_free(host, port)
    argv = command(Path(sys.executable), logdir, host, port)
    sys.stdout.flush()
    os.execv(argv[0], argv)  # noqa: S606 - no shell is wanted
