"""The states of a job of the endpoint, by Runpod's names."""

from enum import StrEnum


class State(StrEnum):
    """Where a job stands, as a client reads it."""

    IN_QUEUE = "IN_QUEUE"
    IN_PROGRESS = "IN_PROGRESS"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    TIMED_OUT = "TIMED_OUT"


ENDED = frozenset({State.COMPLETED, State.FAILED, State.CANCELLED, State.TIMED_OUT})
CAN_BE_RETRIED = ENDED - {State.COMPLETED}
BY_REASON = {"cancelled": State.CANCELLED, "timed_out": State.TIMED_OUT}
"""What a job becomes that was asked to end, by the word in its stop.json."""
REASONS = {state: reason for reason, state in BY_REASON.items()}
