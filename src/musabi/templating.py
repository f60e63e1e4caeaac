"""HTML templates of a package: what they show is escaped, and a name that nobody gave is an error."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment


def environment(package: str, folder: str = "templates", **more: Any) -> "Environment":  # noqa: ANN401 - Jinja's own
    """Return the Jinja environment of the templates in a package's folder; `more` are further options of Jinja."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader(package, folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        **more,
    )
