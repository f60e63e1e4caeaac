"""Works out what an expression of a source file is: constants, lists of keys, names of other modules.

What can't be told is UNKNOWN. Nothing of the source is run.
"""

import ast
import operator
from collections.abc import Callable, Iterable
from typing import Any

from musabi.contract.modules import Package
from musabi.contract.operations import ENUMERATIONS, METHODS, OPERATORS, PURE, is_hashable, is_plain, work_out
from musabi.contract.parser import Parser
from musabi.contract.values import (
    UNKNOWN,
    Class,
    External,
    Folder,
    Function,
    Member,
    Method,
    Module,
    Scope,
    is_known,
)

LONGEST = 10_000
"""Entries of a list that are gone through; more than any parser has."""


class Expressions:
    """Evaluates expressions in the scopes of a package's modules. Who follows statements says the rest."""

    def __init__(self, package: Package) -> None:
        self.package = package

    def global_name(self, module: Module, name: str) -> Any:  # noqa: ANN401
        """Return what a name of a module, or a builtin, stands for."""
        raise NotImplementedError

    def called(self, target: Any, args: list[Any], named: dict[str, Any], scope: Scope) -> Any:  # noqa: ANN401
        """Return what a call of something other than a builtin gives."""
        raise NotImplementedError

    def called_blindly(self, node: ast.Call, scope: Scope) -> Any:  # noqa: ANN401
        """Return what a call gives whose arguments can't be told apart."""
        raise NotImplementedError

    def value(self, node: ast.expr | None, scope: Scope) -> Any:  # noqa: ANN401 - any value of a source
        """Return what the expression is in the scope, or UNKNOWN."""
        if node is None:
            return None
        method = getattr(self, f"_{type(node).__name__.lower()}", None)
        return UNKNOWN if method is None else method(node, scope)

    def _constant(self, node: ast.Constant, _: Scope) -> Any:  # noqa: ANN401
        return node.value

    def _name(self, node: ast.Name, scope: Scope) -> Any:  # noqa: ANN401
        around: Scope | None = scope
        while around is not None:
            if node.id in around.names:
                return around.names[node.id]
            around = around.around
        return self.global_name(scope.module, node.id)

    def _attribute(self, node: ast.Attribute, scope: Scope) -> Any:  # noqa: ANN401
        return self.attribute(self.value(node.value, scope), node.attr)

    def attribute(self, owner: Any, name: str) -> Any:  # noqa: ANN401
        """Return what `owner.name` is."""
        if isinstance(owner, Module | Folder):
            found = self.global_name(owner, name) if isinstance(owner, Module) else UNKNOWN
            inner = self.package.inside((*owner.parts, name)) if found is UNKNOWN else None
            return inner or found
        if isinstance(owner, External):
            members = {member.name: member for member in ENUMERATIONS.get(owner.name, ())}
            return members.get(name) or External(f"{owner.name}.{name}")
        if isinstance(owner, Member):
            return {"name": owner.name, "value": owner.value}.get(name, UNKNOWN)
        if isinstance(owner, Class):
            return self._class_attribute(owner, name)
        if isinstance(owner, Parser) or name in METHODS.get(type(owner), frozenset()):
            return Method(owner, name)
        return UNKNOWN

    def _class_attribute(self, owner: Class, name: str) -> Any:  # noqa: ANN401
        members = {member.name: member for member in self._members(owner)}
        if name in members:
            return members[name]
        scope = Scope(owner.module, owner.node.name)
        for statement in owner.node.body:
            if isinstance(statement, ast.FunctionDef) and statement.name == name:
                return Function(statement, scope)
            if name in targets(statement):
                return self.value(statement.value, scope)  # type: ignore[attr-defined]
        return UNKNOWN

    def _members(self, owner: Class) -> list[Member]:
        """Return the members, where the class is an enumeration."""
        bases = [ast.unparse(base).rpartition(".")[2] for base in owner.node.bases]
        if not any(base.endswith("Enum") for base in bases):
            return []
        scope = Scope(owner.module)
        return [
            Member(name, self.value(statement.value, scope))  # type: ignore[attr-defined]
            for statement in owner.node.body
            for name in targets(statement)
        ]

    def entries(self, value: Any) -> list[Any] | None:  # noqa: ANN401
        """Return what iterating over the value gives, or None where that is not known."""
        if isinstance(value, Class):
            return list(self._members(value)) or None
        if isinstance(value, External):
            return list(ENUMERATIONS.get(value.name, ())) or None
        if isinstance(value, set | frozenset):
            return sorted(value, key=str)
        if isinstance(value, str | list | tuple | dict | range) and len(value) <= LONGEST:
            return list(value)
        return None

    def _list(self, node: ast.List, scope: Scope) -> Any:  # noqa: ANN401
        return self._several(node.elts, scope)

    def _tuple(self, node: ast.Tuple, scope: Scope) -> Any:  # noqa: ANN401
        found = self._several(node.elts, scope)
        return found if found is UNKNOWN else tuple(found)

    def _set(self, node: ast.Set, scope: Scope) -> Any:  # noqa: ANN401
        found = self._several(node.elts, scope)
        return set(found) if is_hashable(found) else UNKNOWN

    def _several(self, nodes: Iterable[ast.expr], scope: Scope) -> Any:  # noqa: ANN401
        found: list[Any] = []
        for node in nodes:
            if not isinstance(node, ast.Starred):
                found.append(self.value(node, scope))
                continue
            more = self.entries(self.value(node.value, scope))
            if more is None:
                return UNKNOWN
            found += more
        return found

    def _dict(self, node: ast.Dict, scope: Scope) -> Any:  # noqa: ANN401
        found: dict[Any, Any] = {}
        for key, entry in zip(node.keys, node.values, strict=True):
            value = self.value(entry, scope)
            if key is not None:
                name = self.value(key, scope)
                if not is_hashable([name]):
                    return UNKNOWN
                found[name] = value
            elif isinstance(value, dict):
                found |= value
            else:
                return UNKNOWN
        return found

    def _joinedstr(self, node: ast.JoinedStr, scope: Scope) -> Any:  # noqa: ANN401
        words = [
            self.value(part.value, scope) if isinstance(part, ast.FormattedValue) else self.value(part, scope)
            for part in node.values
        ]
        formats = any(isinstance(part, ast.FormattedValue) and part.format_spec for part in node.values)
        if formats or not all(isinstance(word, str | int | float) for word in words):
            return UNKNOWN
        return "".join(map(str, words))

    def _binop(self, node: ast.BinOp, scope: Scope) -> Any:  # noqa: ANN401
        return work_out(
            OPERATORS.get(type(node.op)), self.value(node.left, scope), self.value(node.right, scope)
        )

    def _unaryop(self, node: ast.UnaryOp, scope: Scope) -> Any:  # noqa: ANN401
        return work_out(OPERATORS.get(type(node.op)), self.value(node.operand, scope))

    def _boolop(self, node: ast.BoolOp, scope: Scope) -> Any:  # noqa: ANN401
        value: Any = None
        for part in node.values:
            value = self.value(part, scope)
            if not is_plain(value):
                return UNKNOWN
            if bool(value) == isinstance(node.op, ast.Or):
                break
        return value

    def _compare(self, node: ast.Compare, scope: Scope) -> Any:  # noqa: ANN401
        values = [self.value(part, scope) for part in (node.left, *node.comparators)]
        told = [
            work_out(OPERATORS.get(type(sign)), left, right)
            for sign, left, right in zip(node.ops, values, values[1:], strict=False)
        ]
        return UNKNOWN if UNKNOWN in told else all(told)

    def _ifexp(self, node: ast.IfExp, scope: Scope) -> Any:  # noqa: ANN401
        test = self.value(node.test, scope)
        return self.value(node.body if test else node.orelse, scope) if is_plain(test) else UNKNOWN

    def _subscript(self, node: ast.Subscript, scope: Scope) -> Any:  # noqa: ANN401
        return work_out(operator.getitem, self.value(node.value, scope), self.value(node.slice, scope))

    def _slice(self, node: ast.Slice, scope: Scope) -> Any:  # noqa: ANN401
        parts = [self.value(part, scope) for part in (node.lower, node.upper, node.step)]
        return slice(*parts) if is_known(parts) else UNKNOWN

    def _lambda(self, node: ast.Lambda, scope: Scope) -> Any:  # noqa: ANN401
        return Function(node, scope)

    def _listcomp(self, node: ast.ListComp, scope: Scope) -> Any:  # noqa: ANN401
        return self._comprehension(node, scope)

    def _generatorexp(self, node: ast.GeneratorExp, scope: Scope) -> Any:  # noqa: ANN401
        return self._comprehension(node, scope)

    def _setcomp(self, node: ast.SetComp, scope: Scope) -> Any:  # noqa: ANN401
        found = self._comprehension(node, scope)
        return set(found) if is_hashable(found) else UNKNOWN

    def _comprehension(self, node: ast.ListComp | ast.GeneratorExp | ast.SetComp, scope: Scope) -> Any:  # noqa: ANN401
        if len(node.generators) != 1:
            return UNKNOWN
        made = node.generators[0]
        entries = self.entries(self.value(made.iter, scope))
        if entries is None:
            return UNKNOWN
        found = []
        for entry in entries:
            inner = Scope(scope.module, scope.place, {}, scope)
            bind(made.target, entry, inner)
            tests = [self.value(test, inner) for test in made.ifs]
            if not all(map(is_plain, tests)):
                return UNKNOWN
            if all(tests):
                found.append(self.value(node.elt, inner))
        return found

    def _call(self, node: ast.Call, scope: Scope) -> Any:  # noqa: ANN401
        target = self.value(node.func, scope)
        args = self._several(node.args, scope)
        named = self._named(node, scope)
        if args is UNKNOWN or named is None:
            return self.called_blindly(node, scope)
        if isinstance(target, External) and target.name in PURE:
            return self._builtin(PURE[target.name], args, named)
        if isinstance(target, Method) and not isinstance(target.value, Parser):
            if is_known(args) and is_known(named):
                return work_out(getattr(target.value, target.name), *args, **named)
            return UNKNOWN
        return self.called(target, args, named, scope)

    def _named(self, node: ast.Call, scope: Scope) -> dict[str, Any] | None:
        """Return the keyword arguments of a call, or None where a ** is not known."""
        named: dict[str, Any] = {}
        for keyword in node.keywords:
            value = self.value(keyword.value, scope)
            if keyword.arg is not None:
                named[keyword.arg] = value
            elif isinstance(value, dict):
                named |= value
            else:
                return None
        return named

    def _builtin(self, function: Callable[..., Any], args: list[Any], named: dict[str, Any]) -> Any:  # noqa: ANN401
        """Call a builtin; a list of something whose entries are known needs no known entries."""
        given = [self.entries(arg) if isinstance(arg, Class | External) else arg for arg in args]
        if function is not len and not (is_known(named) and all(is_plain(arg) for arg in given)):
            return UNKNOWN
        return work_out(function, *given, **named)


def bind(target: ast.expr, value: Any, scope: Scope) -> None:  # noqa: ANN401 - any value of a source
    """Give the names of an assignment's target what they stand for."""
    if isinstance(target, ast.Name):
        scope.names[target.id] = value
    elif isinstance(target, ast.Tuple | ast.List):
        fits = isinstance(value, tuple | list) and len(value) == len(target.elts)
        for place, entry in zip(target.elts, value if fits else [UNKNOWN] * len(target.elts), strict=True):
            bind(place, entry, scope)


def targets(statement: ast.stmt) -> list[str]:
    """Return the plain names that a statement assigns to."""
    if isinstance(statement, ast.Assign):
        return [target.id for target in statement.targets if isinstance(target, ast.Name)]
    if isinstance(statement, ast.AnnAssign) and statement.value and isinstance(statement.target, ast.Name):
        return [statement.target.id]
    return []
