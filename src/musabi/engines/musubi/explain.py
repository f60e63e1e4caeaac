"""Why a step of musubi-tuner failed, told from the end of its output by the table of known causes."""

import re
import signal

from musabi.engines.musubi.causes import CAUSES, Cause
from musabi.errors import ExitCode
from musabi.job.engine import Failure
from musabi.job.plan import Step

TRACEBACK = "Traceback (most recent call last)"
# What a launcher says of a child that failed: never why.
_LAUNCHERS = frozenset({"CalledProcessError", "ChildFailedError", "SignalException", "KeyboardInterrupt"})
_EXCEPTION = re.compile(r"^(?:[A-Za-z_][\w]*\.)*([A-Za-z_]\w*)(?:: ?(.*))?$")
_COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_RANK = re.compile(r"^\[(?:rank|default)\d+\]:[ ]?", re.MULTILINE)
MOST = 300
"""Characters of an unknown failure's own words that are passed on."""


def explain(step: Step, exit_code: int, tail: str) -> Failure:
    """Return why the step failed: a known cause, told by the traceback first, or the last exception."""
    text = plain_lines(tail)
    found = known(step, exit_code, text)
    if found:
        cause, words = found[0]
        said = cause.message.format(*words)
        return Failure(said, cause.exit_code, cause.name, cause.kind, cause.retry)
    said = f"{step.title} failed: {last_words(text, exit_code)} The log has the whole output."
    return Failure(said, ExitCode.TRAINER_FAILED)


def known(step: Step, exit_code: int, text: str) -> list[tuple[Cause, tuple[str, ...]]]:
    """Return all causes that the output shows, each with its pattern's groups; what is no echo comes first."""
    phase = step.name.partition("-")[0]
    own = without_launchers(text)
    said = own.partition(TRACEBACK)[2] or own
    found = []
    for cause in CAUSES:
        if cause.phases and phase not in cause.phases:
            continue
        match = re.search(cause.pattern, text if cause.anywhere else said)
        if match is not None:
            found.append((cause, _words(match)))
        elif _ended_by(exit_code) in cause.signals:
            found.append((cause, ()))
    return sorted(found, key=lambda pair: pair[0].echo)


def plain_lines(tail: str) -> str:
    """Return output without colours, ranks and carriage returns: one thing a line."""
    return _RANK.sub("", _COLOURS.sub("", tail).replace("\r\n", "\n").replace("\r", "\n"))


def without_launchers(text: str) -> str:
    """Return the output without the tracebacks of launchers, which only say that a child failed."""
    first, *parts = text.split(TRACEBACK)
    return first + "".join(TRACEBACK + part for part in parts if _exception(part)[0] not in _LAUNCHERS)


def last_words(text: str, exit_code: int) -> str:
    """Return the last exception that is not a launcher's own, as one sentence."""
    exceptions = [_exception(part) for part in text.split(TRACEBACK)[1:]]
    found = [pair for pair in exceptions if pair[0] and pair[0] not in _LAUNCHERS]
    if not found:
        number = _ended_by(exit_code)
        return (
            f"it was ended by {signal.Signals(number).name}."
            if number
            else f"it ended with code {exit_code}."
        )
    kind, words = found[-1]
    said = words.partition(" / ")[0].strip().rstrip(".")  # the trainer says things twice, in two languages
    return f"{kind}: {said[:MOST]}." if said else f"{kind}."


def _exception(part: str) -> tuple[str, str]:
    """Return the (kind, words) that a traceback ends with: its first line that is not indented."""
    lines = part.partition("\n")[2].splitlines()
    said = next((line for line in lines if line and not line[0].isspace()), "")
    match = _EXCEPTION.fullmatch(said)
    return (match[1], match[2] or "") if match else ("", "")


def _words(match: re.Match[str]) -> tuple[str, ...]:
    """Return the groups that took part; where none of several did, the whole of what was found."""
    return tuple(group for group in match.groups() if group is not None) or (match[0],)


def _ended_by(exit_code: int) -> int:
    """Return the signal that ended a process (subprocess says -9, a shell 137), or 0."""
    number = -exit_code if exit_code < 0 else exit_code - 128
    return number if number in signal.Signals.__members__.values() else 0
