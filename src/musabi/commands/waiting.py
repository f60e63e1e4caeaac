"""Waiting for the bootstrap that goes on behind JupyterLab, and only for what a verb needs of it."""

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from musabi.commands.show import say
from musabi.job.model import Job
from musabi.recipes import load
from musabi.settings import Settings
from musabi.whole import shards

POLL_SECONDS = 0.5
PLAIN_LINE_SECONDS = 15.0
GOING_ON = ("waiting", "running")
# The stages that a trainer's own files and environment come from; weights are waited for file by file.
TRAINER_STAGES = ("templates", "clone", "accelerate", "environment", "link", "packages", "verify")


def wait_for_bootstrap(settings: Settings, job: Job, *, dit: bool, quiet: bool = False) -> None:
    """Wait while a bootstrap is at work on what `job` needs; `dit`: it needs the DiT too, not only the rest.

    Returns at once where nothing is at work: what is missing then is for the checks that follow to name.
    """
    if job.engine != "musubi":
        return
    from musabi.pod.bootstrap.state import bootstrap_status

    roles = load(job.model).caching_roles
    wanted = [path for role, path in job.weights.items() if dit or role in roles]
    shown = _Line(quiet)
    while (stage := awaited(bootstrap_status(settings.space), missing_files(wanted))) is not None:
        shown.show(*stage)
        time.sleep(POLL_SECONDS)
    shown.close()


def missing_files(paths: list[Path]) -> list[Path]:
    """Return the weight files (every shard counts) that are not there yet."""
    return [shard for path in paths for shard in shards(path) if not shard.is_file()]


def awaited(status: Mapping[str, Any] | None, missing: list[Path]) -> tuple[str, dict[str, Any]] | None:
    """Return the stage to wait for, with how it stands, or None where there is nothing to wait for."""
    if status is None or status["state"] != "running":
        return None
    stages: Mapping[str, dict[str, Any]] = status["stages"]
    going = [name for name in TRAINER_STAGES if stages.get(name, {}).get("state") in GOING_ON]
    if stages.get("weights", {}).get("state") in GOING_ON and missing:
        going.append("weights")
    going.sort(key=lambda name: stages[name]["state"] != "running")
    return (going[0], stages[going[0]]) if going else None


class _Line:
    """Says what is waited for: one line that moves in a terminal, a line now and then elsewhere."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._terminal = sys.stdout.isatty()
        self._said: tuple[str, float] = ("", 0.0)

    def show(self, stage: str, values: dict[str, Any]) -> None:
        if self._quiet:
            return
        from musabi.pod.bootstrap.progress import line

        text = f"Waiting for the bootstrap: {line(stage, values)}"
        before, at = self._said
        if self._terminal:
            sys.stdout.write(f"\r\033[K{text[:160]}")
            sys.stdout.flush()
        elif stage != before or time.monotonic() - at >= PLAIN_LINE_SECONDS:
            say(text)
            at = time.monotonic()
        self._said = (stage, at)

    def close(self) -> None:
        if self._said[0] and self._terminal:
            sys.stdout.write("\r\033[K")
