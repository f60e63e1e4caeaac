"""The view of the pod: what to do next, what goes on, the bootstrap, GPU, disk, money, how the pod ends."""

import time
from collections.abc import Mapping
from typing import Any

from musabi.pod.stopping.words import duration
from musabi.watch.page.behind import Behind, kept
from musabi.watch.page.html import render
from musabi.watch.page.pod_cost import cost, facts, rules, stopping, warnings
from musabi.watch.page.pod_disk import (
    FOLDERS_SECONDS,
    ROOM_SECONDS,
    Disk,
    Filling,
    disks,
    filling,
    with_quota,
)
from musabi.watch.page.pod_gpu import GIB, GpuReader
from musabi.watch.page.pod_look import look
from musabi.watch.page.pod_next import next_on_page
from musabi.watch.page.pod_verbs import HOURS, VERBS
from musabi.watch.page.scene import Scene
from musabi.watch.page.view import Query, View
from musabi.watch.status_words import spark

BAD_FIRST = ("blocks", "note", "unknown")
"""The boot report's rows that degraded, the worst first."""


def stop_part(scene: Scene, _query: Query) -> str:
    """An announced stop, what was given up, a guard that is missing."""
    now = time.time()
    stands = stopping(scene, now)
    return render("pod_stop", {"stop": stands["announced"], "warnings": warnings(stands)})


def next_part(scene: Scene, _query: Query) -> str:
    """What to do next."""
    return render("pod_next", {"next": next_on_page(look(scene))})


def runs_part(scene: Scene, _query: Query) -> str:
    """The runs that go on; the newest one where none does."""
    seen = look(scene)
    newest = [seen["run"] | {"elsewhere": False}] if seen["run"] else []
    return render("pod_runs", {"going": bool(seen["going"]), "runs": seen["going"] or newest, "spark": spark})


def bootstrap_part(scene: Scene, _query: Query) -> str:
    """The bootstrap's stages, with what is fetched and how long it takes."""
    found = look(scene)["bootstrap"]
    return render("pod_bootstrap", {"bootstrap": found, "fetching": fetching(found)})


def gpu_part(scene: Scene, _query: Query) -> str:
    """The GPUs' use and memory."""
    reader = kept(
        scene.memory, "pod.gpu", lambda: Behind(GpuReader(scene.environ).read, lambda got: got.every_s)
    )
    reading = reader.newest()
    return render("pod_gpu", {"gpus": None if reading is None else reading.gpus, "gib": GIB})


def disk_part(scene: Scene, _query: Query) -> str:
    """The disks, and what fills the workspace."""
    counted = _filling(scene)
    known = facts(scene)
    size = None if isinstance(known, str) else known.network_volume_gb
    rows = [with_quota(disk, size, counted) for disk in _disks(scene) or ()]
    return render("pod_disk", {"disks": rows, "filling": counted})


def cost_part(scene: Scene, _query: Query) -> str:
    """What was spent, the rate, the rest of the run, and when the pod stops by itself."""
    now = time.time()
    run = next((run for run in look(scene)["going"] if not run["elsewhere"]), None)
    stop = rules(stopping(scene, now), now)
    values = {"cost": cost(scene, run, now), "rules": stop, "span": duration}
    return render("pod_cost", values | {"pod": scene.settings.runpod_pod_id})


def report_part(scene: Scene, _query: Query) -> str:
    """The boot report: what degraded first, what is right folded away."""
    rows = look(scene)["report"]
    wrong = sorted((row for row in rows if row["state"] != "ok"), key=_rank)
    return render("pod_report", {"wrong": wrong, "right": [row for row in rows if row["state"] == "ok"]})


def services_part(scene: Scene, _query: Query) -> str:
    """The services that the pod's boot looks after."""
    return render("pod_services", {"services": look(scene)["services"]})


def fetching(bootstrap: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return bytes, total and the longest time left (seconds) of the stages that run; None: nothing is fetched."""
    stages = [stage for stage in (bootstrap or {}).get("stages", {}).values() if stage["state"] == "running"]
    sized = [stage for stage in stages if isinstance(stage["total"], int | float) and stage["total"]]
    if len(sized) < 2:  # one alone stands in its own row
        return None
    left = [stage["eta_s"] for stage in sized if isinstance(stage.get("eta_s"), int | float)]
    return {
        "state": "running",
        "bytes": sum(stage["bytes"] or 0 for stage in sized),
        "total": sum(stage["total"] for stage in sized),
        "eta_s": max(left, default=None),
    }


def _values(scene: Scene, _query: Query) -> dict[str, Any]:
    return {"pod": scene.settings.runpod_pod_id, "hours": HOURS, "now": time.time()}


def _rank(row: Mapping[str, str]) -> int:
    return BAD_FIRST.index(row["state"]) if row["state"] in BAD_FIRST else len(BAD_FIRST)


def _disks(scene: Scene) -> tuple[Disk, ...] | None:
    root, state = scene.space.root, scene.places.state_dir
    room = kept(scene.memory, "pod.disks", lambda: Behind(lambda: disks(root, state), lambda _: ROOM_SECONDS))
    return room.newest()


def _filling(scene: Scene) -> Filling | None:
    root = scene.space.root
    counted = kept(
        scene.memory, "pod.filling", lambda: Behind(lambda: filling(root), lambda _: FOLDERS_SECONDS)
    )
    return counted.newest()


POD = View(
    "pod",
    "Pod",
    parts={
        "stop": stop_part,
        "next": next_part,
        "runs": runs_part,
        "bootstrap": bootstrap_part,
        "gpu": gpu_part,
        "cost": cost_part,
        "disk": disk_part,
        "report": report_part,
        "services": services_part,
    },
    verbs=VERBS,
    values=_values,
)
