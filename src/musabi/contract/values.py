"""What a name or an expression of a source file stands for, as far as it can be told without running it."""

import ast
from dataclasses import dataclass, field
from typing import Any


class Unknown:
    """A value that only running the source would tell."""

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN = Unknown()


@dataclass(frozen=True)
class External:
    """Something of another package, or a builtin, by its dotted name."""

    name: str


@dataclass(frozen=True)
class Member:
    """A member of an enumeration."""

    name: str
    value: Any


@dataclass(eq=False)
class Module:
    """A source file of the package. `found` are its global names that were looked up."""

    file: str
    parts: tuple[str, ...]
    tree: ast.Module
    found: dict[str, Any] = field(default_factory=dict)


@dataclass(eq=False)
class Folder:
    """A package without an __init__.py, or one that is only walked through."""

    parts: tuple[str, ...]


@dataclass(eq=False)
class Class:
    """A class of the package, with the module that it stands in."""

    node: ast.ClassDef
    module: Module


@dataclass(eq=False)
class Scope:
    """The names that a piece of source sees: its own, those of what surrounds it, those of the module."""

    module: Module
    place: str = ""
    names: dict[str, Any] = field(default_factory=dict)
    around: "Scope | None" = None

    @property
    def defined_in(self) -> str:
        """`file:function`."""
        return f"{self.module.file}:{self.place}"


@dataclass(eq=False)
class Function:
    """A function or lambda of the package, with the scope that it was defined in."""

    node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
    scope: Scope

    @property
    def name(self) -> str:
        """Its name without leading underscores."""
        return "lambda" if isinstance(self.node, ast.Lambda) else self.node.name.strip("_")


@dataclass(frozen=True)
class Method:
    """What stands behind `value.name` where value is a list, a dict, a text or a parser."""

    value: Any
    name: str


def is_known(value: Any) -> bool:  # noqa: ANN401 - any value of a source
    """Tell whether the value and all that it holds is known."""
    if isinstance(value, list | tuple | set | frozenset):
        return all(is_known(entry) for entry in value)
    if isinstance(value, dict):
        return all(is_known(key) and is_known(entry) for key, entry in value.items())
    return value is not UNKNOWN
