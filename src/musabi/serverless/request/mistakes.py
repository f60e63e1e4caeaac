"""What is wrong with a request, as values, and the answer that says so."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from musabi.errors import RequestError

MOST_SHOWN = 80
MOST_MISTAKES = 50


@dataclass(frozen=True)
class Mistake:
    """One mistake: where it is in the input, such as `training.epochs`, and a sentence that says what to do."""

    path: str
    message: str


class Refused(RequestError):  # noqa: N818 - what becomes of a request
    """A request can't be done as it stands. `mistakes` holds all that is wrong, what the original found first."""

    def __init__(self, mistakes: Iterable[Mistake]) -> None:
        self.mistakes = tuple(dict.fromkeys(mistakes))[:MOST_MISTAKES]
        super().__init__(self.mistakes[0].message)

    def answer(self) -> dict[str, Any]:
        """Return the failed job's answer: `error` is the first mistake, `errors` holds them all."""
        return {
            "status": "failed",
            "error": self.mistakes[0].message,
            "errors": [{"path": one.path, "message": one.message} for one in self.mistakes],
        }


def shown(value: object, *, quoted: bool = True) -> str:
    """Return a value of a request fit for a message: at most 80 printable characters."""
    match value:
        case str():
            text = "".join(
                character if character.isprintable() else "?" for character in value[: MOST_SHOWN + 1]
            )
            cut = text if len(text) <= MOST_SHOWN else text[: MOST_SHOWN - 3] + "..."
            return f'"{cut}"' if quoted else cut
        case None:
            return "null" if quoted else "None"
        case bool():
            return str(value).lower() if quoted else str(value)
        case int():
            return str(value) if abs(value) < 10**20 else "a very large number"
        case float():
            return str(value) if math.isfinite(value) else "no finite number"
        case dict():
            return "an object"
        case _:
            return "a list"
