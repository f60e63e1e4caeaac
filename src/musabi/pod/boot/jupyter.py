"""JupyterLab's settings and its token.

The settings are a generated jupyter_server_config.py that JUPYTER_CONFIG_PATH points to: it wins over a user's
own ~/.jupyter, which is still read. Nothing secret is on the command line or in the environment of JupyterLab
and its kernels: the file reads the token from a 0600 file beside it.

Who may look: the token, and for a browser the right page. Where the pod's address on Runpod's proxy is known,
that origin is allowed besides the server's own; no other. `/api/status` answers 403 without the token, as on
Runpod's own images, whose readiness probe takes any answer that is not the proxy's 502.

PROXIED is the table of what JupyterLab's Launcher offers besides notebooks; jupyter-server-proxy starts each on
demand, on loopback, and serves it under JupyterLab's token.
"""

import json
import re
import secrets
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from musabi.pod.places import PodPlaces
from musabi.watch.tensorboard import command as tensorboard_command
from musabi.whole import write_text

CONFIG_NAME = "jupyter_server_config.py"
LAB_NAME = "labconfig/default_setting_overrides.json"
# A notebook is saved every 10 s, so that a tab that was closed shows a run's live progress when it is opened
# again; and nobody is asked about news.
LAB_DEFAULTS = {
    "@jupyterlab/docmanager-extension:plugin": {"autosaveInterval": 10},
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false"},
}
TOKEN_BYTES = 24
# What Jupyter would read a token from, or hand on to every kernel.
TOKEN_VARIABLES = ("JUPYTER_TOKEN", "JUPYTER_PASSWORD", "JUPYTER_TOKEN_FILE")
START_SECONDS = 60.0
# How Jupyter logs a request that it answers with 4xx.
REFUSED = re.compile(r"\] 4\d\d (GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS) ")


@dataclass(frozen=True)
class JupyterPlan:
    """What the configuration is made from. `origin` is None where no proxy's address is known.

    `tensorboard_port` is that of a TensorBoard that runs already, or None for one on demand.
    """

    token_file: Path
    root: Path
    port: int = 8888
    ip: str = "0.0.0.0"  # noqa: S104 - the one public door
    default_url: str = "/lab"
    origin: str | None = None
    tensorboard_logdir: Path = Path("/workspace/logs")
    tensorboard_port: int | None = None
    python: str = sys.executable


def token_of(environ: Mapping[str, str], kept: str | None) -> str:
    """Return JUPYTER_TOKEN, else JUPYTER_PASSWORD, else the kept token, else a new one.

    An empty variable counts as not set: Jupyter would take it for "no login needed".
    """
    given = (environ.get(name, "").strip() for name in TOKEN_VARIABLES[:2])
    return next((text for text in given if text), "") or kept or secrets.token_urlsafe(TOKEN_BYTES)


def keep_token(places: PodPlaces, environ: Mapping[str, str]) -> str:
    """Return the token of this boot, and leave it in the 0600 file.

    Raises:
        OSError: the file can't be written.
    """
    try:
        kept = places.token.read_text(encoding="utf-8").strip()
    except OSError:
        kept = ""
    token = token_of(environ, kept or None)
    if token != kept:
        write_text(places.token, token, 0o600, sync=False)
    places.token.chmod(0o600)
    return token


def settings(plan: JupyterPlan) -> dict[str, dict[str, Any]]:
    """Return the rows of the configuration: {class: {name: value}}."""
    server: dict[str, Any] = {
        "ip": plan.ip,
        "port": plan.port,
        "port_retries": 0,  # another port would be one that nobody looks at
        "open_browser": False,
        "allow_root": True,
        "allow_remote_access": True,  # the proxy's Host header is not this machine's name
        "root_dir": str(plan.root),
        "default_url": "/" + plan.default_url.lstrip("/"),
        "terminado_settings": {"shell_command": ["/bin/bash", "-l"]},
    }
    if plan.origin is not None:
        server |= {"allow_origin": plan.origin.lower(), "trust_xheaders": True}
    return {
        "ServerApp": server,
        # A pod's disk is small, and its trash can't be seen: what is deleted is gone.
        "FileContentsManager": {"delete_to_trash": False, "always_delete_dir": True},
        # No question to the network at the start.
        "LabApp": {"news_url": None, "check_for_updates_class": "jupyterlab.NeverCheckForUpdate"},
        "ServerProxy": {"servers": {name: row(plan) for name, row in PROXIED.items()}},
    }


def config_text(plan: JupyterPlan) -> str:
    """Return jupyter_server_config.py. Values are Python literals; the token is read, not written."""
    lines = [
        "# Written by musabi at each start of the pod. Your own settings belong into ~/.jupyter.",
        "from pathlib import Path",
        "c = get_config()",
        f"c.IdentityProvider.token = Path({str(plan.token_file)!r}).read_text().strip()",
    ]
    for name, rows in settings(plan).items():
        lines += [f"c.{name}.{key} = {value!r}" for key, value in rows.items()]
    return "\n".join([*lines, ""])


def write_config(places: PodPlaces, plan: JupyterPlan) -> None:
    """Write the configuration of the server and the defaults of JupyterLab's page.

    Raises:
        OSError: it can't be written.
    """
    for name, text in ((CONFIG_NAME, config_text(plan)), (LAB_NAME, json.dumps(LAB_DEFAULTS))):
        file = places.jupyter_config / name
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            write_text(file, text, 0o600, sync=False)


def command(python: str = sys.executable) -> tuple[str, ...]:
    """Return JupyterLab's command line; -P keeps the workspace's files out of its imports."""
    return (python, "-P", "-m", "jupyterlab")


def environment(environ: Mapping[str, str], places: PodPlaces) -> dict[str, str]:
    """Return JupyterLab's environment: the container's, without the token's variables.

    What Jupyter keeps while it runs (its address with the token, the kernels' keys) goes to the container's
    disk, wherever the user's home is.
    """
    kept = {name: value for name, value in environ.items() if name not in TOKEN_VARIABLES}
    more = environ.get("JUPYTER_CONFIG_PATH")
    path = str(places.jupyter_config) + (f":{more}" if more else "")
    return kept | {
        "JUPYTER_CONFIG_PATH": path,
        "JUPYTER_RUNTIME_DIR": str(places.root / "jupyter-runtime"),
        "SHELL": "/bin/bash",
    }


def is_warning(line: str) -> bool:
    """Tell whether a line of Jupyter's log belongs into the container's log: no page that was not found."""
    return line.startswith(("[W ", "[E ", "[C ")) and REFUSED.search(line) is None


def _tensorboard(plan: JupyterPlan) -> dict[str, Any]:
    if plan.tensorboard_port is not None:
        return {"port": plan.tensorboard_port, "launcher_entry": _tile("TensorBoard")}
    logdir = Path(_kept(plan.tensorboard_logdir))
    python, *arguments = tensorboard_command(Path(plan.python), logdir, "127.0.0.1", 0)
    return {
        "command": [python, "-P", *arguments[:-1], "{port}"],
        "timeout": START_SECONDS,
        "launcher_entry": _tile("TensorBoard"),
    }


def _status(plan: JupyterPlan) -> dict[str, Any]:
    return {
        "command": [plan.python, "-P", "-m", "musabi.watch.status_page", "--socket", "{unix_socket}"],
        "unix_socket": True,
        "timeout": START_SECONDS,
        "launcher_entry": _tile("Status")
        | {"enabled": False},  # for notebooks' cells; the run page has it all
    }


def _page(plan: JupyterPlan) -> dict[str, Any]:
    return {
        "command": [plan.python, "-P", "-m", "musabi.watch.page.server", "{unix_socket}", _kept(plan.root)],
        "unix_socket": True,
        "timeout": START_SECONDS,
        "launcher_entry": _tile("Run page"),
    }


def _kept(folder: Path) -> str:
    """Return a folder for a command line that the proxy fills in by str.format, which its own braces must not meet."""
    return str(folder).replace("{", "{{").replace("}", "}}")


def _tile(title: str) -> dict[str, Any]:
    return {"enabled": True, "title": title, "category": "Musabi"}


# Name under JupyterLab's address, and the entry of jupyter-server-proxy that a plan makes of it.
PROXIED = {"page": _page, "tensorboard": _tensorboard, "status": _status}
