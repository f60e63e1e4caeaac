"""What a run has for itself while it goes on, and whether another run may start beside it. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from musabi.errors import RequestError
from musabi.job.record import RunRecord, StepOutcome


class InTheWay(RequestError):  # noqa: N818 - said by the one who must wait
    """A run that goes on has what this one needs; once it has ended, this one may start."""


@dataclass(frozen=True)
class Claim:
    """What a run has for itself. `gpus` are numbers; none means all of them, and the CPU.

    `uses` are the cache folders that it reads or writes and the adapter's copy, `writes` those of them that it
    is still to write.
    """

    run: str
    output_name: str
    gpus: frozenset[int] = frozenset()
    uses: frozenset[Path] = frozenset()
    writes: frozenset[Path] = frozenset()


def claim_of(record: RunRecord) -> Claim:
    """Return what the run of a record has for itself; what its steps have written by now is free again."""
    steps = list(zip_longest(record.plan.get("steps", ()), record.steps))
    return Claim(
        run=record.id,
        output_name=str(record.job.get("output_name", "")),
        gpus=frozenset(record.gpus),
        uses=_paths(step for step, _ in steps),
        writes=_paths(step for step, outcome in steps if _is_to_run(step, outcome)),
    )


def in_the_way(new: Claim, old: Claim) -> str | None:
    """Return why `new` can't start while `old` goes on, as a sentence with what to do; None where it can."""
    if not new.gpus or not old.gpus:
        return (
            f"{old.run} is still running. Watch it with: musabi logs -f. "
            f"End it with: musabi stop --run {old.run}."
        )
    if shared := sorted(new.gpus & old.gpus):
        return (
            f"{old.run} is still running on GPU {', '.join(map(str, shared))}. Wait for its end, end it with "
            f"musabi stop --run {old.run}, or choose other GPUs with CUDA_VISIBLE_DEVICES."
        )
    if new.output_name == old.output_name:
        return (
            f"{old.run} is still running under the same OUTPUT_NAME, and its files would be replaced. "
            "Choose another name."
        )
    if clash := sorted((new.writes & old.uses) | (new.uses & old.writes)):
        return (
            f"{old.run} is still running and uses {clash[0]}, which one run at a time may write to. "
            "Wait until it trains, or for its end."
        )
    return None


def _is_to_run(step: Mapping[str, Any], outcome: StepOutcome | None) -> bool:
    return step.get("skip") is None and (outcome is None or outcome.state in ("waiting", "running"))


def _paths(steps: Iterable[Mapping[str, Any]]) -> frozenset[Path]:
    """Return the folders of the caches and the adapter's copy that these steps make."""
    found: set[Path] = set()
    for step in steps:
        if str(step["name"]).startswith("cache-"):
            found |= {Path(path).parent for path, _ in step.get("stamp", ())}
            found |= {Path(path).parent for path in step.get("discard", ())}
        elif step["name"] == "adapt" and step.get("output"):
            found.add(Path(step["output"][1]))
    return frozenset(found)
