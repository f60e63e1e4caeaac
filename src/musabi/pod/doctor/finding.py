"""What a look found: a row of the table of texts, filled in."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from musabi.children import scrub
from musabi.pod.doctor.texts import TEXTS, State

# What stands behind a question mark in an address may sign it for everybody.
QUERY = re.compile(r"(\b[a-z][a-z0-9+.-]*://[^\s?#\"']+)[?#][^\s\"']*", re.IGNORECASE)


@dataclass(frozen=True)
class Finding:
    """One finding. `name` is FIELD.WHAT; where all is right, `what` says what was seen and the rest is empty.

    In one sentence: consequence, colon, what. `mend` is a sentence of its own.
    """

    name: str
    state: State
    what: str
    consequence: str = ""
    mend: str = ""

    @property
    def field(self) -> str:
        """The field of looks that it belongs to."""
        return self.name.partition(".")[0]

    @property
    def sentence(self) -> str:
        """The consequence first, then what it comes from."""
        return f"{self.consequence}: {self.what}." if self.consequence else self.what


def ok(name: str, what: str) -> Finding:
    """Return what was seen where all is right."""
    return Finding(name, "ok", what)


def finding(name: str, state: State | None = None, /, **values: object) -> Finding:
    """Return a row of the table of texts, filled in; `state` wins over the row's own."""
    row = TEXTS[name]
    return Finding(
        name,
        state or row.state,
        row.what.format_map(values),
        row.consequence.format_map(values),
        row.mend.format_map(values),
    )


def public(found: Finding, hidden: Iterable[str]) -> Finding:
    """Return a finding that may be shown to everybody: without secrets, users and queries of addresses."""
    hidden = tuple(hidden)
    return replace(
        found,
        what=public_text(found.what, hidden),
        consequence=public_text(found.consequence, hidden),
        mend=public_text(found.mend, hidden),
    )


def public_text(text: str, hidden: Iterable[str]) -> str:
    """Return a text that may be shown to everybody, on one line."""
    return QUERY.sub(r"\1", scrub(" ".join(text.split()), hidden))


def listed(words: Iterable[str]) -> str:
    """Return words as a person lists them, each once: "a, b and c"."""
    *first, last = dict.fromkeys(words)
    return f"{', '.join(first)} and {last}" if first else last
