"""What Python's own operators, builtins and methods make of values that are known, and of others nothing."""

import ast
import builtins
import operator
from collections.abc import Callable, Mapping
from typing import Any

from musabi.contract.values import UNKNOWN, Member

# Enumerations of the packages that the trainer pins: accelerate 1.6.0, utils/dataclasses.py.
_DYNAMO = (
    "NO EAGER AOT_EAGER INDUCTOR AOT_TS_NVFUSER NVPRIMS_NVFUSER CUDAGRAPHS OFI FX2TRT ONNXRT TENSORRT "
    "AOT_TORCHXLA_TRACE_ONCE TORCHXLA_TRACE_ONCE IPEX TVM HPU_BACKEND"
)
ENUMERATIONS = {"accelerate.utils.DynamoBackend": tuple(Member(name, name) for name in _DYNAMO.split())}

PURE: Mapping[str, Callable[..., Any]] = {
    name: getattr(builtins, name)
    for name in (
        *("bool", "dict", "float", "frozenset", "int", "len", "list", "max", "min", "range", "round"),
        *("set", "sorted", "str", "sum", "tuple", "abs"),
    )
}
METHODS: Mapping[type[Any], frozenset[str]] = {
    dict: frozenset({"keys", "values", "items", "copy", "get"}),
    str: frozenset(
        {"lower", "upper", "strip", "split", "join", "replace", "format", "title", "removeprefix"}
    ),
    list: frozenset({"copy", "index", "count"}),
}
OPERATORS: Mapping[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
    ast.BitOr: operator.or_,
    ast.BitAnd: operator.and_,
    ast.Not: operator.not_,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
    ast.In: lambda entry, values: entry in values,
    ast.NotIn: lambda entry, values: entry not in values,
}


_VIEWS: tuple[type[Any], ...] = (type({}.keys()), type({}.values()), type({}.items()))
_PLAIN: tuple[type[Any], ...] = (bool, int, float, str, list, tuple, dict, set, frozenset, range, slice)


def is_plain(value: Any) -> bool:  # noqa: ANN401
    """Tell whether Python's own operations on the value say what they would say in the source."""
    return value is None or isinstance(value, _PLAIN)


def is_hashable(values: Any) -> bool:  # noqa: ANN401
    """Tell whether it is a list whose entries may stand in a set or be keys."""
    return isinstance(values, list) and all(
        isinstance(value, str | int | float | bool | tuple | Member) or value is None for value in values
    )


def work_out(function: Callable[..., Any] | None, *args: Any, **named: Any) -> Any:  # noqa: ANN401
    """Return what the function makes of known values, or UNKNOWN; the views of a dict as lists."""
    if function is None or not all(map(is_plain, args)):
        return UNKNOWN
    try:
        made = function(*args, **named)
    except Exception:  # what the source would raise is not known either
        return UNKNOWN
    return list(made) if isinstance(made, _VIEWS) else made
