"""A cell's output: HTML that works in light and dark, lines, and a picture that is replaced in place."""

from collections.abc import Callable, Iterable
from html import escape
from typing import Any


def say(text: str) -> None:
    """Print a line, at once."""
    print(text, flush=True)


def show(html: str) -> None:
    """Show HTML; it must be escaped already."""
    from IPython.display import HTML, display

    display(HTML(html))  # type: ignore[no-untyped-call]


def show_replaceable(html: str) -> Callable[[str], None]:
    """Show HTML and return a function that puts other HTML in its place."""
    from IPython.display import HTML, display

    handle: Any = display(HTML(html), display_id=True)  # type: ignore[no-untyped-call]

    def replace(other: str) -> None:
        if handle is not None:
            handle.update(HTML(other))  # type: ignore[no-untyped-call]

    return replace


def head(text: str) -> str:
    """Return a section's heading; a real <h2> would go into JupyterLab's table of contents."""
    return f'<p class="head" role="heading" aria-level="2">{escape(text)}</p>'


def table(rows: Iterable[tuple[str, str]]) -> str:
    """Return (name, value) rows as a table; both are text and are escaped here."""
    cells = (f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>' for name, value in rows)
    return f"<table>{''.join(cells)}</table>"
