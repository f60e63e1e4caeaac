"""How a LoRA is converted as a step of a plan: `python -m musabi.lora to-comfyui SOURCE TARGET ...`.

What the model's layers are called stands on the command line, so a plan shows it and needs no recipe then.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NoReturn

from musabi.errors import RequestError
from musabi.lora.models import Model

Direction = Literal["to-comfyui", "to-native"]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise RequestError(f"The arguments are wrong: {message}.")


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Return what a command line says: `to`, `source`, `target` and `model`, None where no layers are named.

    Raises:
        RequestError: an argument is missing, unknown or wrong.
    """
    parser = _Parser("python -m musabi.lora", description="Convert a LoRA file.", allow_abbrev=False)
    parser.add_argument("to", choices=("to-comfyui", "to-native"))
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--model", default="this model", help="what messages call the model")
    parser.add_argument("--form", choices=("dotted", "native"), default="dotted", help="what ComfyUI reads")
    parser.add_argument("--prefix", default="diffusion_model", help="what dotted names begin with")
    parser.add_argument("--strip", default="", help="what the layers' names begin with and ComfyUI's don't")
    parser.add_argument("--fused", nargs="+", default=(), help="layers that ComfyUI keeps in one: ONE=A,B,C")
    parser.add_argument("--modules", nargs="+", default=(), help="the model's layers, with # for a number")
    args = parser.parse_args(argv)
    if args.to == "to-comfyui" and not args.modules:
        raise RequestError("to-comfyui needs --modules: the names of the model's layers.")
    fused = tuple(
        (one, tuple(parts.split(","))) for one, _, parts in (text.partition("=") for text in args.fused)
    )
    model = Model("", args.model, "", "", tuple(args.modules), (), args.form, args.prefix, args.strip, fused)
    args.model = model if args.modules else None
    return args


def command(to: Direction, source: Path, target: Path, model: Model) -> tuple[str, ...]:
    """Return the arguments of an interpreter that convert a file."""
    return (
        *("-m", "musabi.lora", to, str(source), str(target)),
        *("--model", model.title, "--form", model.form, "--prefix", model.prefix),
        *(("--strip", model.strip) if model.strip else ()),
        *(("--fused", *(f"{one}={','.join(parts)}" for one, parts in model.fused)) if model.fused else ()),
        *("--modules", *model.modules),
    )
