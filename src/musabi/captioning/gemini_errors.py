"""What Gemini answers when it does not describe a video, as a table, and what is done about it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from musabi.children import scrub
from musabi.errors import MachineError, MusabiError, RequestError

TRY_AGAIN = frozenset({408, 429, 500, 502, 503, 504})
LONGEST_WAIT_S = 60.0
REFUSED = frozenset({"SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "LANGUAGE"})
"""Reasons why an answer ended that are no end (the API's FinishReason)."""


class ClipFailedError(RequestError):
    """One video can't be captioned; others may."""

    def __init__(self, video: Path, why: str) -> None:
        super().__init__(f"{video.name} {why}.")
        self.video = video


class TryAgainError(Exception):
    """Another attempt may go well. `after_s` is how long Gemini asks to wait; 0 where it does not say."""

    def __init__(self, why: str, after_s: float = 0) -> None:
        super().__init__(why)
        self.after_s = after_s


class NoSuchModelError(Exception):
    """Gemini has no model of this name (any more)."""


@dataclass(frozen=True)
class Row:
    """A refusal of everything: its status, a `pattern` in what is said, and the sentence for a person."""

    statuses: tuple[int, ...]
    pattern: str
    sentence: str
    error: type[MusabiError] = RequestError


KEY = "Check api_keys.gemini_api_key of the request, or GEMINI_API_KEY on the endpoint"
REFUSALS = (
    Row((400,), r"API_KEY_INVALID|API key (not valid|expired)", f"Gemini does not accept the key. {KEY}."),
    Row(
        (400,),
        r"location is not supported",
        "Gemini is not offered where this machine is. Take another data centre, or caption with qwen3-vl.",
        MachineError,
    ),
    Row((401,), "", f"Gemini does not accept the key. {KEY}."),
    Row((403,), "", f"Gemini does not let this key in: {{message}}. {KEY}."),
)


def problem_of(status: int, headers: Mapping[str, str], body: object, video: Path, key: str) -> Exception:
    """Return the error for an answer that is none: of the whole work, of one video, or to be tried again."""
    message = scrub(message_of(body), (key,)) or f"status {status}"
    if status in TRY_AGAIN:
        what = "it is asked too often" if status == 429 else f"it fails with {status}"
        return TryAgainError(f"{what}: {message}", wait_asked_for(headers, body))
    for row in REFUSALS:
        if status in row.statuses and re.search(row.pattern, f"{message} {body}"):
            return row.error(row.sentence.format(message=message))
    return ClipFailedError(video, f"is refused by Gemini: {message}")


def message_of(body: object) -> str:
    """Return Gemini's own sentence, on one line and without its full stop."""
    error = body.get("error") if isinstance(body, dict) else None
    said = error.get("message") if isinstance(error, dict) else None
    return " ".join(str(said or "").split())[:300].rstrip(".")


def wait_asked_for(headers: Mapping[str, str], body: object) -> float:
    """Return how many seconds Gemini asks to wait: by Retry-After, or by RetryInfo in the body ("34s")."""
    asked = [headers.get("retry-after", "")]
    asked += re.findall(r"'retryDelay': '([\d.]+)s'", str(body))
    numbers = [float(text) for text in asked if re.fullmatch(r"\d{1,6}(\.\d+)?", text)]
    return min(max(numbers, default=0.0), LONGEST_WAIT_S)


@dataclass(frozen=True)
class Said:
    """What Gemini said of a video; `cut` where it ran into its limit."""

    text: str
    cut: bool = False


def read_answer(body: Any, video: Path) -> Said:  # noqa: ANN401 - any JSON value
    """Return the text of an answer; what a model only thought is left out.

    Raises:
        ClipFailedError: Gemini refuses to describe this video.
        TryAgainError: it said nothing.
    """
    answer = body if isinstance(body, dict) else {}
    candidates = answer.get("candidates") or []
    if not candidates:
        reason = (answer.get("promptFeedback") or {}).get("blockReason")
        if reason:
            raise refused(video, str(reason))
        raise TryAgainError("it answered without a word")
    finish = str(candidates[0].get("finishReason", ""))
    parts = (candidates[0].get("content") or {}).get("parts") or []
    text = " ".join(str(part.get("text", "")) for part in parts if not part.get("thought")).strip()
    if finish in REFUSED:
        raise refused(video, finish)
    if not text:
        raise TryAgainError("it answered without a word")
    return Said(text, cut=finish == "MAX_TOKENS")


def refused(video: Path, reason: str) -> ClipFailedError:
    """Return the error for a video that Gemini does not want to describe."""
    return ClipFailedError(
        video,
        f"is not described by Gemini ({reason}). Put its caption into {video.stem}.txt beside it, leave it out, "
        "or caption with qwen3-vl",
    )
