"""What a view of the run page is made of: its page, its parts that live, its verbs, what else it answers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.routing import Route

from musabi.watch.page.scene import Scene

Query = Mapping[str, str]
"""What stands behind the ? of a page's address."""
Part = Callable[[Scene, Query], str]
"""Returns a section of the page as HTML, everything in it escaped; "" where there is nothing to show."""
Given = Mapping[str, Any]
"""The JSON object that a change brings."""


@dataclass(frozen=True)
class Verb:
    """A verb of the command line that the page may start.

    `argv` makes its arguments (without the program) of what the page sends, and raises RequestError where that is
    wrong: file names are looked up inside the workspace, never taken as they come. A `long` verb is started and goes
    on when the page is closed; the others are waited for. `done` says in words that it went well.
    """

    title: str
    argv: Callable[[Scene, Given], list[str]]
    long: bool = False
    done: str = "Done."


@dataclass(frozen=True)
class View:
    """A page. Its template NAME.html.j2 holds the parts as {{ parts.NAME }}.

    `values` makes what the template shows besides; `routes` are addresses of its own, one level deep, so that
    relative links work behind any prefix.
    """

    name: str
    title: str
    parts: Mapping[str, Part] = field(default_factory=dict)
    verbs: Mapping[str, Verb] = field(default_factory=dict)
    routes: tuple[Route, ...] = ()
    values: Callable[[Scene, Query], dict[str, Any]] = lambda _scene, _query: {}
    in_menu: bool = True
