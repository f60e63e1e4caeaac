"""Runs `musabi check` whenever the dataset has changed while somebody looks: one at a time, behind the page.

The check remembers what it saw, so of a dataset that changed little most is known already.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from musabi import children
from musabi.dataset.finding import Finding
from musabi.dataset.incoming import kind_of
from musabi.watch.page.behind import Behind, kept
from musabi.watch.page.dataset_place import dataset_folders, name_of
from musabi.watch.page.scene import Scene
from musabi.watch.page.stamp import stamp_of

KEPT = "check"
LOOK_SECONDS = 2.0
SHARE = 250
"""Looking at names and times takes at most one part in so many of a core's time."""
SETTLE_SECONDS = 0.6
MOST_SETTLING = 20
LONGEST_SECONDS = 3600.0


@dataclass(frozen=True)
class Checked:
    """What the last check said. `report` is its JSON, {} where there was nothing to look at or a `problem`.

    `by_file` holds what was found in each file, by its name below the workspace; `at` is Unix seconds.
    """

    report: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""
    by_file: Mapping[str, list[Finding]] = field(default_factory=dict)
    at: float = 0.0


class Checker:
    """Holds the newest check of a scene's dataset."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._seen = ""
        self._again = False
        self._last = Checked()
        self._pause = LOOK_SECONDS
        self.working = False
        self._behind: Behind[Checked] = Behind(self._make, lambda _: self._pause)

    def newest(self) -> Checked:
        """Return what is known; where the dataset has changed a check is begun."""
        return self._behind.newest() or self._last

    def ask(self) -> None:
        """Let the next look check, whether or not something changed."""
        self._again = True

    def _make(self) -> Checked:
        began = time.thread_time()
        now = fingerprint(self._scene)
        self._pause = max(LOOK_SECONDS, SHARE * (time.thread_time() - began))
        if now == self._seen and not self._again:
            return self._last
        self.working, self._again = True, False
        try:
            self._seen = self._settled(now)
            self._last = checked(self._scene)
        finally:
            self.working = False
        return self._last

    def _settled(self, now: str) -> str:
        """Return the fingerprint once it stays the same: files that are just being copied are not looked at."""
        for _ in range(MOST_SETTLING if self._seen else 0):
            time.sleep(SETTLE_SECONDS)
            before, now = now, fingerprint(self._scene)
            if now == before:
                break
        return now


def checker(scene: Scene) -> Checker:
    """Return the scene's checker."""
    return kept(scene.memory, KEPT, lambda: Checker(scene))


def fingerprint(scene: Scene) -> str:
    """Return what changes when a file of the dataset does: names, sizes, times. "" where it has no picture."""
    told = hashlib.blake2b(digest_size=16)
    pictures = False
    for folder in dataset_folders(scene):
        for file in (scene.settings.dataset_config, folder.jsonl):
            if file is not None:
                told.update(f"{file}\0{stamp_of(file)}\n".encode("utf-8", "surrogatepass"))
        pictures = pictures or folder.jsonl is not None
        try:
            with os.scandir(folder.path) as listing:
                entries = sorted(
                    (one for one in listing if not one.name.startswith(".")), key=lambda one: one.name
                )
        except OSError:
            continue
        for entry in entries:
            try:
                status = entry.stat()
            except OSError:
                continue
            pictures = pictures or kind_of(entry.name) in {"image", "convert", "video"}
            line = f"{entry.name}\0{status.st_size}\0{status.st_mtime_ns}\n"
            told.update(line.encode("utf-8", "surrogatepass"))
    return told.hexdigest() if pictures else ""


def checked(scene: Scene) -> Checked:
    """Run the check and return what it said."""
    if not fingerprint(scene):
        return Checked(at=time.time())
    argv = (sys.executable, "-P", "-m", "musabi", "check", "--json")
    nice = ("nice", "-n", "10") if shutil.which("nice") else ()
    try:
        process = children.start((*nice, *argv), dict(scene.environ), None, subprocess.PIPE)
        out, err = process.communicate(timeout=LONGEST_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return Checked(problem="The check took longer than an hour and was ended.", at=time.time())
    except OSError as problem:
        return Checked(problem=f"The check can't be started: {problem.strerror}.", at=time.time())
    return read_answer(scene, out.decode("utf-8", "replace"), err.decode("utf-8", "replace"))


def findings_by_file(scene: Scene, report: Mapping[str, Any]) -> dict[str, list[Finding]]:
    """Return what was found in each file, worst first, by its name below the workspace; others are left out."""
    found: dict[str, list[Finding]] = {}
    for file, marks in report.get("marks", {}).items():
        if name := name_of(scene, Path(file)):
            found[name] = [Finding(mark["level"], mark["words"], Path(file)) for mark in marks]
    return found


def read_answer(scene: Scene, out: str, err: str) -> Checked:
    """Return what `musabi check --json` printed."""
    try:
        report = json.loads(out)
    except ValueError:
        report = None
    if isinstance(report, dict) and isinstance(report.get("findings"), list):
        return Checked(report, "", findings_by_file(scene, report), time.time())
    if isinstance(report, dict) and report.get("error"):
        return Checked(problem=str(report["error"]), at=time.time())
    lines = [line for line in err.splitlines() if line.strip()]
    said = lines[-1].removeprefix("Error: ") if lines else "it said nothing."
    return Checked(problem=f"The check ended early: {said}", at=time.time())
