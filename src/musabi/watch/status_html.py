"""The status page as HTML: values in, text out. Everything that is shown is escaped by the template."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from musabi.templating import environment
from musabi.watch.status_words import WORDS, spark

if TYPE_CHECKING:
    from jinja2 import Environment

# The page's parts, in their order.
PARTS = ("next", "run", "bootstrap", "services", "report")


def parts(values: Mapping[str, Any]) -> dict[str, str]:
    """Return the parts of the page by name; what has nothing to show is empty. `values`: `Status.look`."""
    template = _environment().get_template("status_parts.html.j2")
    return {name: template.render(part=name, **values).strip() for name in PARTS}


def page(values: Mapping[str, Any], shown: tuple[str, ...] = PARTS) -> str:
    """Return the whole page with the parts that are `shown`."""
    found = parts(values)
    return _environment().get_template("status.html.j2").render(
        parts=[(name, found[name]) for name in shown], whole=len(shown) > 1, **values
    )  # fmt: skip


@cache
def asset(name: str) -> str:
    """Return the text of status.css or status.js."""
    return (Path(__file__).parent / "templates" / name).read_text(encoding="utf-8")


def cell(values: Mapping[str, Any], shown: tuple[str, ...] = PARTS) -> str:
    """Return the parts that are `shown`, for a notebook's output."""
    found = parts(values)
    return styled(*(found[name] for name in shown))


def styled(*sections: str) -> str:
    """Return sections of HTML, escaped already, as one element that carries its style; empty ones are left out."""
    inside = "".join(f"<section>{section}</section>" for section in sections if section)
    return f'<div class="musabi"><style>{asset("status.css")}</style>{inside}</div>'


@cache
def _environment() -> "Environment":
    made = environment("musabi.watch")
    made.globals.update(WORDS, spark=spark)
    return made
