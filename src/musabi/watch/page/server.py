"""The run page's server: on a unix socket behind JupyterLab's proxy, or on a port of this machine."""

import os
import secrets
import socket
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from musabi.errors import ExitCode, MachineError

KEY_BYTES = 24
WARNING = "warning"


def serve_on_socket(environ: Mapping[str, str], path: Path, jupyter_root: Path | None = None) -> int:
    """Answer on a unix socket until SIGTERM: whoever reaches it was asked for JupyterLab's token.

    `jupyter_root` is the folder that JupyterLab hands files out of.

    Raises:
        MachineError: the socket can't be made.
    """
    path.unlink(missing_ok=True)  # what a killed server left behind
    listening = socket.socket(socket.AF_UNIX)
    try:
        listening.bind(str(path))
    except OSError as problem:
        why = problem.strerror or str(problem)
        raise MachineError(f"The run page can't listen on {path} ({why}).") from problem
    try:
        return _serve(environ, listening, lambda _key: None, jupyter_root=jupyter_root)
    finally:
        path.unlink(missing_ok=True)


def serve_on_port(environ: Mapping[str, str], port: int, ready: Callable[[str], None]) -> int:
    """Answer on a port of this machine until Ctrl-C. `ready` is given the address, key and all. 0: any free port.

    Raises:
        MachineError: the port is taken.
    """
    listening = socket.socket(socket.AF_INET)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(("127.0.0.1", port))
    except OSError as problem:
        raise MachineError(
            f"Port {port} can't be listened on ({problem.strerror}). Choose another with --port, or 0 for any."
        ) from problem
    number = listening.getsockname()[1]
    return _serve(
        environ, listening, lambda key: ready(f"http://127.0.0.1:{number}/?token={key}"), login=True
    )


def _serve(
    environ: Mapping[str, str],
    listening: socket.socket,
    ready: Callable[[str], None],
    *,
    login: bool = False,
    jupyter_root: Path | None = None,
) -> int:
    import uvicorn

    from musabi.watch.page.app import make_app
    from musabi.watch.page.scene import scene_of

    key = secrets.token_urlsafe(KEY_BYTES)
    config = uvicorn.Config(
        make_app(scene_of(environ, key, login=login, jupyter_root=jupyter_root)),
        log_level=WARNING,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=2,
        lifespan="off",
    )
    listening.listen(128)
    ready(key)
    uvicorn.Server(config).run(sockets=[listening])
    return int(ExitCode.DONE)


def main() -> int:
    """Serve behind JupyterLab: `python -m musabi.watch.page.server SOCKET [JUPYTER'S ROOT]`."""
    try:
        return serve_on_socket(os.environ, *map(Path, sys.argv[1:3]))
    except MachineError as problem:
        print(f"Error: {problem}", file=sys.stderr)
        return int(problem.exit_code)


if __name__ == "__main__":
    sys.exit(main())
