"""How fast this machine trains, as its earlier runs tell: seconds a step and dollars an hour, or nothing."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from musabi.job.record import RunRecord
from musabi.pod.stopping.provider import PodFacts
from musabi.watch.page.pod_cost import facts
from musabi.watch.page.run_glance import events_between
from musabi.watch.page.run_records import records_of
from musabi.watch.page.scene import Scene
from musabi.watch.page.stamp import stamp_of
from musabi.watch.page.train_takes import Speed

TAIL_BYTES = 64_000


def speed_of(scene: Scene, job: Mapping[str, Any], machine: Mapping[str, Any]) -> Speed | None:
    """Return the speed of the newest run like this job on such a machine; None: there is none.

    `machine` holds "gpu", the name, and "gpus", how many are used. A run on the same dataset counts before another.
    """
    runs = [run for run in records_of(scene).look() if is_alike(run.record, job, machine)]
    runs.sort(key=lambda run: run.record.job.get("dataset_config") != job.get("dataset_config"))
    for run in runs:
        seconds = last_seconds(run.folder.events_file)
        if seconds is not None:
            return Speed(seconds, run.record.id)
    return None


def is_alike(record: RunRecord, job: Mapping[str, Any], machine: Mapping[str, Any]) -> bool:
    """Tell whether a run trained the same model with the same trainer on as many of the same GPUs."""
    same_job = all(record.job.get(name) == job.get(name) for name in ("engine", "model"))
    same_gpus = record.versions.get("gpu", "") == machine.get("gpu") and len(record.gpus) == machine.get(
        "gpus"
    )
    return bool(record.plan.get("schedule")) and same_job and same_gpus


def last_seconds(events: Path) -> float | None:
    """Return the newest seconds a step of a training, from the end of its events; None where it said none."""
    size = stamp_of(events)[1]
    said = [
        float(event.s_per_step)
        for event in events_between(events, max(0, size - TAIL_BYTES), size)
        if event.phase == "train" and isinstance(event.s_per_step, int | float)
    ]
    return said[-1] if said else None


def rate_per_hour(scene: Scene) -> float | None:
    """Return US dollars an hour: PRICE_PER_HOUR, else what Runpod says; None where neither is known (yet)."""
    if scene.settings.price_per_hour is not None:
        return scene.settings.price_per_hour
    known = facts(scene)
    return known.per_hour if isinstance(known, PodFacts) else None
