"""What becomes of a job whose process has ended. Pure."""

from dataclasses import dataclass
from typing import Any, Literal

from musabi.serverless.answers import WHY, failed
from musabi.serverless.queue.states import BY_REASON, REASONS, State

MOST_RESTARTS = 3


@dataclass(frozen=True)
class Ended:
    """What is known of a job whose process has ended.

    `state` is the store's, `result` the answer it wrote, `asked` why it was asked to end, `restarts` how often it
    broke down before, `closing` whether the server ends, `elsewhere` whether it ran in a container that is gone.
    """

    state: State
    result: dict[str, Any] | None
    asked: str | None
    restarts: int = 0
    closing: bool = False
    elsewhere: bool = False


@dataclass(frozen=True)
class Verdict:
    """`finish`: it has ended in `state` with `output`. `again`: it goes on; `counts` where it broke down."""

    do: Literal["finish", "again"]
    state: State = State.IN_PROGRESS
    output: Any = None
    counts: bool = False


def verdict(ended: Ended) -> Verdict:
    """Decide what becomes of a job."""
    called_off = ended.state if ended.state in REASONS else BY_REASON.get(ended.asked or "")
    if ended.result is not None:
        if ended.result.get("status") == "success":
            return Verdict("finish", State.COMPLETED, ended.result)
        return Verdict("finish", called_off or State.FAILED, ended.result)
    if called_off is not None:
        return Verdict("finish", called_off, failed(WHY[REASONS[called_off]]))
    if ended.closing or ended.elsewhere or ended.asked == "shutdown":
        return Verdict("again")
    if ended.restarts < MOST_RESTARTS:
        return Verdict("again", counts=True)
    return Verdict(
        "finish",
        State.FAILED,
        failed(
            f"The job's process broke down {ended.restarts + 1} times without an answer. Its log is log.txt in the "
            "job's folder on the volume; POST /retry goes on from its newest state."
        ),
    )
