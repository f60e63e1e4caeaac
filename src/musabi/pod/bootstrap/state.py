"""What the bootstrap remembers: one JSON file on the volume, one on the container's disk.

`done` holds, for each finished stage, the content hash that it was done for and the facts that its proof
needs. `files` holds what is known of fetched weights. `stages` and `run` are the progress that
`musabi status` shows; they are never believed when it comes to skipping.
"""

import hashlib
import json
import threading
import time
from pathlib import Path
from typing import Any

from musabi.identity import identity, is_gone
from musabi.job.record import own_process, process_start
from musabi.whole import read_json, write_json
from musabi.workspace import Workspace

FILE = "bootstrap.json"
WRITE_EVERY_SECONDS = 0.5
SILENT_SECONDS = 60


class StateFile:
    """A JSON file that several threads of one process change; it is replaced as a whole."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._written = 0.0
        found = read_json(path)
        self._values: dict[str, Any] = found if isinstance(found, dict) else {}

    def done(self, stage: str) -> dict[str, Any] | None:
        """Return {"hash": ..., "facts": {...}} of a finished stage."""
        found = self._section("done").get(stage)
        return found if isinstance(found, dict) and "hash" in found and "facts" in found else None

    def finish(self, stage: str, fingerprint: str, facts: dict[str, Any]) -> None:
        with self._lock:
            self._section("done")[stage] = {"hash": fingerprint, "facts": facts}
            self._write()

    def forget(self, stage: str) -> None:
        with self._lock:
            if self._section("done").pop(stage, None) is not None:
                self._write()

    def files(self) -> dict[str, dict[str, Any]]:
        """Return what is known of fetched files, by final path."""
        with self._lock:
            return dict(self._section("files"))

    def remember(self, path: Path, record: dict[str, Any]) -> None:
        with self._lock:
            self._section("files")[str(path)] = record
            self._write()

    def start_run(self, profile: str, stages: list[str]) -> None:
        """Begin a new run's progress, all its stages waiting."""
        pid, started = own_process()
        with self._lock:
            now = time.time()
            self._values["run"] = {"state": "running", "profile": profile, "started": now, "updated": now}
            self._values["run"] |= {"pid": pid, "pid_started": started, "identity": identity()}
            self._values["stages"] = {name: {"state": "waiting"} for name in stages}
            self._write()

    def progress(self, stage: str, soon: bool = True, **values: Any) -> None:  # noqa: ANN401 - JSON values
        """Change a stage's progress; with `soon` off the file is written at most twice a second."""
        with self._lock:
            self._section("stages").setdefault(stage, {}).update(values)
            if soon or time.monotonic() - self._written > WRITE_EVERY_SECONDS:
                self._write()

    def end_run(self, state: str) -> None:
        with self._lock:
            self._section("run").update(state=state, ended=time.time())
            self._write()

    def _section(self, name: str) -> dict[str, Any]:
        section = self._values.get(name)
        if not isinstance(section, dict):
            section = self._values[name] = {}
        return section

    def _write(self) -> None:
        if "run" in self._values:
            self._section("run")["updated"] = time.time()
        write_json(self.path, self._values)
        self._written = time.monotonic()


def volume_state(space: Workspace) -> StateFile:
    """Return the state of what lies on the volume."""
    return StateFile(space.state / FILE)


def machine_state(state_dir: Path) -> StateFile:
    """Return the state of what lies on the container's disk."""
    return StateFile(state_dir / FILE)


def fingerprint(values: Any) -> str:  # noqa: ANN401 - any JSON value
    """Return the content hash of what a stage depends on."""
    text = json.dumps(values, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def bootstrap_status(workspace: Workspace) -> dict[str, Any] | None:
    """Return how the newest bootstrap of a workspace stands, or None where there was none.

    The value holds `state` (running, done, failed, interrupted), `profile`, `started`, `ended`, `updated`
    (Unix seconds) and `stages`: for each `state` (waiting, running, done, skipped, failed, blocked,
    interrupted), and where known `message`, `bytes`, `total`, `eta_s`, `started`, `ended`.
    """
    values = read_json(workspace.state / FILE)
    if not isinstance(values, dict) or "run" not in values:
        return None
    run, stages = values["run"], values.get("stages", {})
    if run.get("state") == "running" and not _is_alive(run):
        run["state"] = "interrupted"
        for stage in stages.values():
            if stage.get("state") in ("running", "waiting"):
                stage["state"] = "interrupted"
    shown = ("state", "profile", "started", "ended", "updated")
    return {name: run[name] for name in shown if name in run} | {"stages": stages}


def _is_alive(run: dict[str, Any]) -> bool:
    """Tell whether the process that wrote the progress still runs; elsewhere, whether it wrote lately."""
    if run.get("identity") == identity():
        return run.get("pid_started") is not None and process_start(run["pid"]) == run["pid_started"]
    if is_gone(str(run.get("identity", ""))):
        return False
    return time.time() - float(run.get("updated", 0)) < SILENT_SECONDS
