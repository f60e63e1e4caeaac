"""Follows a script from its `__main__` to where it parses its arguments, and keeps the parser it built.

Functions are followed with what they are handed: a parser that is passed on is filled in the function of
another module, under whatever name that was imported. Where a test is not known, both ways are followed.
"""

import ast
import builtins
from collections.abc import Iterable
from typing import Any

from musabi.contract.expressions import Expressions, bind, targets
from musabi.contract.modules import Package
from musabi.contract.parser import Parser
from musabi.contract.surface import Script
from musabi.contract.values import UNKNOWN, Class, External, Function, Method, Module, Scope

DEEPEST = 40
"""Calls within calls that are followed."""


class _ParsedError(Exception):
    """The arguments are parsed here."""

    def __init__(self, parser: Parser) -> None:
        super().__init__()
        self.parser = parser


class _ReturnedError(Exception):
    """A function ends here with a value."""

    def __init__(self, value: Any) -> None:  # noqa: ANN401 - any value of a source
        super().__init__()
        self.value = value


class Reader(Expressions):
    """Reads the scripts of one package."""

    def __init__(self, package: Package) -> None:
        super().__init__(package)
        self._depth = 0
        self._seeking: set[tuple[str, str]] = set()

    def script(self, file: str) -> Script | None:
        """Return what the script accepts, or None where the file parses no arguments when it is run.

        Raises:
            MachineError: a file can't be read.
        """
        module = self.package.load(file)
        scope = Scope(module, "main")
        try:
            for block in module.tree.body:
                if isinstance(block, ast.If) and _is_main(block.test):
                    self._run(block.body, scope)
        except _ParsedError as parsed:
            return parsed.parser.script(file)
        return None

    # Names.

    def global_name(self, module: Module, name: str) -> Any:  # noqa: ANN401
        """Return what a name of a module, or a builtin, stands for."""
        place = (module.file, name)
        if name in module.found:
            return module.found[name]
        if place in self._seeking:
            return UNKNOWN
        self._seeking.add(place)
        try:
            found = self._seek(module, name)
        finally:
            self._seeking.discard(place)
        module.found[name] = found
        return found

    def _seek(self, module: Module, name: str) -> Any:  # noqa: ANN401
        scope = Scope(module, "", {})
        for statement in _top_level(module.tree.body):
            if name in _binds(statement) or _changes(statement, name):
                self._statement(_only(statement, name), scope)
        if name in scope.names:
            return scope.names[name]
        return External(name) if hasattr(builtins, name) else UNKNOWN

    # Calls.

    def called(self, target: Any, args: list[Any], named: dict[str, Any], scope: Scope) -> Any:  # noqa: ANN401
        """Return what a call gives: a parser is made or filled, a function of the package is followed."""
        if isinstance(target, Method) and isinstance(target.value, Parser):
            return self._of_parser(target.value, target.name, args, named, scope)
        if _makes_parser(target, self, scope):
            return _new_parser(named)
        if isinstance(target, Function) and self._depth < DEEPEST:
            return self._follow(target, args, named)
        for handed in (*args, *named.values()):
            if isinstance(handed, Parser):
                handed.whole = False
        return UNKNOWN

    def called_blindly(self, node: ast.Call, scope: Scope) -> Any:  # noqa: ANN401
        """Mark the parsers that a call reaches as not whole, where its arguments can't be told apart."""
        parts = [self.value(arg, scope) for arg in node.args if not isinstance(arg, ast.Starred)]
        parts += [self.value(keyword.value, scope) for keyword in node.keywords]
        owner = self.value(node.func, scope)
        parts += [owner.value] if isinstance(owner, Method) else []
        for part in parts:
            if isinstance(part, Parser):
                part.whole = False
        return UNKNOWN

    def _of_parser(
        self, parser: Parser, name: str, args: list[Any], named: dict[str, Any], scope: Scope
    ) -> Any:  # noqa: ANN401
        match name:
            case "add_argument":
                parser.add_argument(args, named, scope.defined_in)
            case "set_defaults":
                parser.set_defaults(named)
            case "add_argument_group" | "add_mutually_exclusive_group":
                return parser
            case "parse_args":
                raise _ParsedError(parser)
            case "parse_known_args" | "parse_intermixed_args" | "parse_known_intermixed_args":
                parser.whole &= "known" not in name
                raise _ParsedError(parser)
            case "add_subparsers":
                parser.whole = False
        return UNKNOWN

    def _follow(self, function: Function, args: list[Any], named: dict[str, Any]) -> Any:  # noqa: ANN401
        node = function.node
        name = "lambda" if isinstance(node, ast.Lambda) else node.name
        scope = Scope(function.scope.module, name, {}, function.scope)
        self._bind_parameters(node.args, args, named, scope, function.scope)
        self._depth += 1
        try:
            if isinstance(node, ast.Lambda):
                return self.value(node.body, scope)
            return self._run(node.body, scope)
        except _ReturnedError as returned:
            return returned.value
        finally:
            self._depth -= 1

    def _bind_parameters(
        self, wanted: ast.arguments, args: list[Any], named: dict[str, Any], scope: Scope, around: Scope
    ) -> None:
        names = [arg.arg for arg in (*wanted.posonlyargs, *wanted.args)]
        usual = dict(zip(names[len(names) - len(wanted.defaults) :], wanted.defaults, strict=True))
        usual |= {
            arg.arg: node for arg, node in zip(wanted.kwonlyargs, wanted.kw_defaults, strict=True) if node
        }
        for name in (*names, *(arg.arg for arg in wanted.kwonlyargs)):
            scope.names[name] = self.value(usual[name], around) if name in usual else UNKNOWN
        scope.names |= dict(zip(names, args, strict=False))
        scope.names |= {name: value for name, value in named.items() if name in scope.names}
        if wanted.vararg:
            scope.names[wanted.vararg.arg] = args[len(names) :]
        if wanted.kwarg:
            scope.names[wanted.kwarg.arg] = {k: v for k, v in named.items() if k not in scope.names}

    # Statements.

    def _run(self, body: Iterable[ast.stmt], scope: Scope) -> Any:  # noqa: ANN401
        """Follow statements; return what a return on an uncertain way gave, else None."""
        maybe: Any = None
        for statement in body:
            found = self._statement(statement, scope)
            maybe = found if found is not None else maybe
        return maybe

    def _statement(self, node: ast.stmt, scope: Scope) -> Any:  # noqa: ANN401
        method = getattr(self, f"_do_{type(node).__name__.lower()}", None)
        return None if method is None else method(node, scope)

    def _do_expr(self, node: ast.Expr, scope: Scope) -> None:
        call = node.value
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute):
            owner = self.value(call.func.value, scope)
            if isinstance(owner, list | dict | set) and call.func.attr in (
                "append",
                "extend",
                "update",
                "add",
            ):
                arguments = [self.value(arg, scope) for arg in call.args]
                if arguments and arguments[0] is not UNKNOWN:
                    getattr(owner, call.func.attr)(*arguments)
                return
        self.value(call, scope)

    def _do_assign(self, node: ast.Assign, scope: Scope) -> None:
        value = self.value(node.value, scope)
        for target in node.targets:
            if isinstance(target, ast.Subscript):
                owner, key = self.value(target.value, scope), self.value(target.slice, scope)
                if isinstance(owner, dict) and isinstance(key, str | int):
                    owner[key] = value
            bind(target, value, scope)

    def _do_annassign(self, node: ast.AnnAssign, scope: Scope) -> None:
        if node.value is not None:
            bind(node.target, self.value(node.value, scope), scope)

    def _do_augassign(self, node: ast.AugAssign, scope: Scope) -> None:
        if isinstance(node.target, ast.Name):
            left = ast.Name(node.target.id, ast.Load())
            bind(node.target, self.value(ast.BinOp(left, node.op, node.value), scope), scope)

    def _do_return(self, node: ast.Return, scope: Scope) -> None:
        raise _ReturnedError(self.value(node.value, scope))

    def _do_functiondef(self, node: ast.FunctionDef, scope: Scope) -> None:
        scope.names[node.name] = Function(node, scope)

    def _do_asyncfunctiondef(self, node: ast.AsyncFunctionDef, scope: Scope) -> None:
        scope.names[node.name] = Function(node, scope)

    def _do_classdef(self, node: ast.ClassDef, scope: Scope) -> None:
        scope.names[node.name] = Class(node, scope.module)

    def _do_import(self, node: ast.Import, scope: Scope) -> None:
        for alias in node.names:
            dotted = alias.name if alias.asname else alias.name.partition(".")[0]
            scope.names[alias.asname or dotted] = self.package.find(dotted)

    def _do_importfrom(self, node: ast.ImportFrom, scope: Scope) -> None:
        source = self.package.imported(scope.module, node)
        for alias in node.names:
            scope.names[alias.asname or alias.name] = self.attribute(source, alias.name)

    def _do_if(self, node: ast.If, scope: Scope) -> Any:  # noqa: ANN401
        test = self.value(node.test, scope)
        if isinstance(test, bool):
            return self._run(node.body if test else node.orelse, scope)
        return self._perhaps(node.orelse, scope, self._perhaps(node.body, scope, None))

    def _do_for(self, node: ast.For, scope: Scope) -> Any:  # noqa: ANN401
        entries = self.entries(self.value(node.iter, scope))
        maybe = None
        for entry in [UNKNOWN] if entries is None else entries:
            bind(node.target, entry, scope)
            maybe = self._perhaps(node.body, scope, maybe)
        return maybe

    def _do_while(self, node: ast.While, scope: Scope) -> Any:  # noqa: ANN401
        return self._perhaps(node.body, scope, None)

    def _do_with(self, node: ast.With, scope: Scope) -> Any:  # noqa: ANN401
        return self._run(node.body, scope)

    def _do_try(self, node: ast.Try, scope: Scope) -> Any:  # noqa: ANN401
        return self._run([*node.body, *node.orelse, *node.finalbody], scope)

    def _perhaps(self, body: Iterable[ast.stmt], scope: Scope, maybe: Any) -> Any:  # noqa: ANN401
        """Follow statements that may or may not be reached: a return among them ends nothing."""
        try:
            found = self._run(body, scope)
        except _ReturnedError as returned:
            found = returned.value
        return found if found is not None else maybe


def _is_main(test: ast.expr) -> bool:
    return (
        isinstance(test, ast.Compare) and "__name__" in ast.unparse(test) and "__main__" in ast.unparse(test)
    )


def _top_level(body: Iterable[ast.stmt]) -> Iterable[ast.stmt]:
    """Yield the statements of a module that run on import, in their order, without handlers of errors."""
    for statement in body:
        if isinstance(statement, ast.If):
            if not _is_main(statement.test):
                yield from _top_level([*statement.body, *statement.orelse])
        elif isinstance(statement, ast.Try):
            yield from _top_level([*statement.body, *statement.orelse])
        elif isinstance(statement, ast.With):
            yield from _top_level(statement.body)
        else:
            yield statement


def _binds(statement: ast.stmt) -> list[str]:
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [statement.name]
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return [alias.asname or alias.name.partition(".")[0] for alias in statement.names]
    if isinstance(statement, ast.Assign):
        return [
            node.id for target in statement.targets for node in ast.walk(target) if isinstance(node, ast.Name)
        ]
    return targets(statement)


def _only(statement: ast.stmt, name: str) -> ast.stmt:
    """Return an import without the names that are not asked for: each would load a file."""
    if not isinstance(statement, ast.ImportFrom):
        return statement
    wanted = [alias for alias in statement.names if name in (alias.asname, alias.name)]
    return ast.ImportFrom(statement.module, wanted, statement.level)


def _changes(statement: ast.stmt, name: str) -> bool:
    """Tell whether the statement changes what the name stands for in place."""
    target: ast.expr | None = None
    if isinstance(statement, ast.AugAssign):
        target = statement.target
    elif isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
        function = statement.value.func
        target = function.value if isinstance(function, ast.Attribute) else None
    return isinstance(target, ast.Name) and target.id == name


def _makes_parser(target: Any, reader: Reader, scope: Scope) -> bool:  # noqa: ANN401
    if isinstance(target, Class):
        bases = (reader.value(base, Scope(target.module)) for base in target.node.bases)
        return any(_makes_parser(base, reader, scope) for base in bases)
    return isinstance(target, External) and target.name == "argparse.ArgumentParser"


def _new_parser(named: dict[str, Any]) -> Parser:
    parser = Parser(abbreviations=named.get("allow_abbrev", True) is not False)
    if named.get("add_help", True) is not False:
        parser.add_argument(["-h", "--help"], {"action": "help"}, "argparse:help")
    for parent in named.get("parents") or ():
        if isinstance(parent, Parser):
            parser.take(parent)
        else:
            parser.whole = False
    return parser
