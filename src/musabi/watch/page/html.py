"""Values in, HTML out: everything that is shown is escaped by the templates, and secrets are taken out of it first.

Out of each value, never out of the finished page: there a password such as "dataset" would be looked for in the
page's own addresses, and one with a "<" in it would not be found.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import TYPE_CHECKING, Any

from musabi.children import scrub
from musabi.templating import environment
from musabi.watch.status_words import WORDS

if TYPE_CHECKING:
    from jinja2 import Environment

_HIDDEN: ContextVar[Sequence[str]] = ContextVar("values that no page may show", default=())


@contextmanager
def hiding(values: Sequence[str]) -> Iterator[None]:
    """Let no template show these values within the block, nor in threads that are given its context."""
    before = _HIDDEN.set(values)
    try:
        yield
    finally:
        _HIDDEN.reset(before)


def render(template: str, values: Mapping[str, Any]) -> str:
    """Return a template of `templates/` filled in."""
    return _environment().get_template(f"{template}.html.j2").render(**values).strip()


@cache
def _environment() -> "Environment":
    made = environment("musabi.watch.page", finalize=_without_secrets)
    made.globals.update(WORDS)
    return made


def _without_secrets(value: Any) -> Any:  # noqa: ANN401 - whatever a template shows
    """Return a value as it may be shown; what is HTML already was made by a template."""
    if value is None or isinstance(value, int | float) or hasattr(value, "__html__"):
        return value
    return scrub(str(value), _HIDDEN.get())
