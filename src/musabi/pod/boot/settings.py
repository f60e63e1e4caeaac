"""The few settings that the boot itself needs, read without pydantic, whose import costs a boot 0.3 s.

The rows say the same as `musabi.settings.Settings` does (a test compares the two). A value that can't be right
is replaced by the default and named, because a pod that does not start can't be mended from within; the verbs
stay strict.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

DEFAULT_WORKSPACE = Path("/workspace")
PodAction = Literal["none", "stop", "delete"]
SWITCHES = {"0": False, "1": True, "false": False, "true": True, "no": False, "yes": True}


@dataclass(frozen=True)
class BootSettings:
    """The settings of a boot; the names and meanings are those of `Settings`."""

    jupyter_port: int = 8888
    jupyter_default_url: str = "/lab"
    auto_start_tensorboard: bool = False
    tensorboard_port: int = 6006
    tensorboard_host: str = "127.0.0.1"
    tensorboard_logdir: Path = DEFAULT_WORKSPACE / "logs"
    run_bootstrap_on_start: bool = True
    bootstrap_wait: bool = False
    workspace: Path = DEFAULT_WORKSPACE
    musabi_state_dir: Path = Path("~/.local/share/musabi")
    runpod_pod_id: str | None = None
    public_key: str | None = None
    ssh_public_key: str | None = None
    max_hours: float | None = None
    idle_minutes: float | None = None
    on_finish: PodAction = "none"
    on_error: PodAction = "none"

    @property
    def keys(self) -> str:
        """The text of the SSH keys that may log in; SSH_PUBLIC_KEY wins."""
        return self.ssh_public_key or self.public_key or ""

    @property
    def needs_guard(self) -> bool:
        """Whether something must watch the clock, or go on with the countdown of a run that was killed."""
        watches = self.max_hours is not None or self.idle_minutes is not None
        return watches or self.on_finish != "none" or self.on_error != "none"

    @property
    def origin(self) -> str | None:
        """The address of JupyterLab's page on Runpod's proxy, or None elsewhere."""
        if self.runpod_pod_id is None:
            return None
        return f"https://{self.runpod_pod_id}-{self.jupyter_port}.proxy.runpod.net"

    @property
    def address(self) -> str:
        """Where a person opens JupyterLab."""
        return self.origin or f"http://localhost:{self.jupyter_port}"


def read(environ: Mapping[str, str]) -> tuple[BootSettings, dict[str, str]]:
    """Return the settings and, by variable, what is wrong with those that are replaced by defaults."""
    values: dict[str, Any] = {}
    wrong: dict[str, str] = {}
    for row in fields(BootSettings):
        name = row.name.upper()
        text = environ.get(name)
        if text is None or (not text.strip() and row.default is None):
            continue
        try:
            values[row.name] = READERS[row.type](text.strip())
        except ValueError as must:
            wrong[name] = f'{name} is "{text}", but it {must}. The default is used: {row.default}.'
    return _follow_workspace(BootSettings(**values), values), wrong


def _follow_workspace(settings: BootSettings, given: Mapping[str, Any]) -> BootSettings:
    root = _absolute(settings.workspace)
    moved = {"workspace": root, "musabi_state_dir": _absolute(settings.musabi_state_dir)}
    logdir = settings.tensorboard_logdir
    if "tensorboard_logdir" not in given:
        logdir = root / logdir.relative_to(DEFAULT_WORKSPACE)
    moved["tensorboard_logdir"] = _absolute(logdir)
    return BootSettings(**{**vars(settings), **moved})


def _absolute(path: Path) -> Path:
    try:
        return Path.cwd() / path.expanduser()
    except RuntimeError:  # nobody says where the home is
        return Path("/root", *path.parts[1:])


def _text(text: str) -> str:
    if not text:
        raise ValueError("is empty")
    return text


def _switch(text: str) -> bool:
    if text.lower() not in SWITCHES:
        raise ValueError("must be 0 or 1")
    return SWITCHES[text.lower()]


def _port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise ValueError("must be a whole number from 1 to 65535")
    return int(text)


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ValueError("must be a number") from None
    if not 0 < value < float("inf"):
        raise ValueError("must be more than 0")
    return value


def _path(text: str) -> Path:
    path = Path(_text(text))
    try:
        path.expanduser()
    except RuntimeError:
        if path.parts[0] != "~":
            raise ValueError("begins with a user that this machine has not") from None
    return path


def _action(text: str) -> str:
    if text not in get_args(PodAction):
        raise ValueError(f"must be one of {', '.join(get_args(PodAction))}")
    return text


READERS: dict[Any, Callable[[str], Any]] = {
    bool: _switch,
    int: _port,
    str: _text,
    str | None: _text,
    float | None: _positive,
    Path: _path,
    PodAction: _action,
}
