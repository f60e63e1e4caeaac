"""Whether JupyterLab answers, and where a person opens it.

`health` asks `/api/status` with the token, so that 200 means that JupyterLab works, not only that its port is
open. It runs every few seconds as the image's HEALTHCHECK, so it imports next to nothing.
"""

import socket
from collections.abc import Mapping
from urllib.parse import quote

from musabi.errors import MachineError
from musabi.pod.boot.settings import read
from musabi.pod.state_dir import found_places
from musabi.whole import read_json

LIMIT_SECONDS = 4.0


def health(environ: Mapping[str, str]) -> str | None:
    """Return None where JupyterLab answers, else one line that says why not."""
    settings, _ = read(environ)
    places = found_places(environ)
    try:
        code = status_code(settings.jupyter_port, places.token.read_text(encoding="utf-8").strip())
    except OSError as error:
        return f"{_standing(read_json(places.boot))} ({error.strerror or error})"
    return (
        None
        if code == 200
        else f"JupyterLab answers {code} on /api/status. Its log is {places.logs}/jupyter.log"
    )


def status_code(port: int, token: str) -> int:
    """Return the status code of JupyterLab's /api/status.

    Raises:
        OSError: nothing answers there in time.
    """
    with socket.create_connection(("127.0.0.1", port), LIMIT_SECONDS) as link:
        asked = f"GET /api/status HTTP/1.0\r\nHost: localhost\r\nAuthorization: token {token}\r\n\r\n"
        link.sendall(asked.encode())
        words = link.recv(64).split(b" ", 2)
    if len(words) < 2 or not words[1].isdigit():
        raise OSError(0, "what answers there is no web server")
    return int(words[1])


def address_with_token(environ: Mapping[str, str]) -> str:
    """Return the address that opens JupyterLab without a question.

    Raises:
        MachineError: no pod was booted here.
    """
    settings, _ = read(environ)
    token_file = found_places(environ).token
    try:
        token = token_file.read_text(encoding="utf-8").strip()
    except OSError:
        raise MachineError(
            f"There is no token in {token_file}: no pod was booted here. Run: musabi boot"
        ) from None
    page = "/" + settings.jupyter_default_url.lstrip("/")
    return f"{settings.address}{page}?token={quote(token, safe='')}"


def _standing(boot: object) -> str:
    """Return in words how JupyterLab stands according to boot.json."""
    if not isinstance(boot, dict):
        return "The pod has not booted."
    known = boot.get("services", {})
    jupyter = known.get("jupyter")
    if jupyter is None:
        running = ", ".join(name for name, row in known.items() if row.get("state") == "running")
        return f"JupyterLab is not started yet; before it runs: {running or 'the boot'}."
    message = f" ({jupyter['message']})" if jupyter.get("message") else ""
    return f"JupyterLab is {jupyter.get('state')}{message}, started again {jupyter.get('restarts', 0)} times."
