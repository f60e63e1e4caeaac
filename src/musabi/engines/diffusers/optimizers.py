"""Optimizers and learning-rate schedules by the names and arguments that musubi-tuner takes."""

import ast
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import torch

from musabi.errors import MachineError, RequestError

PRODIGY, ADAMW, ADAMW_8BIT = "prodigyopt.Prodigy", "AdamW", "AdamW8bit"
NAMES = (PRODIGY, ADAMW, ADAMW_8BIT)
SCHEDULES = ("constant", "constant_with_warmup", "cosine", "cosine_with_restarts", "linear", "polynomial")

FALLBACK = "AdamW8bit needs bitsandbytes and a GPU, which are not here: AdamW takes its place."


def optimizer_arguments(given: Sequence[str]) -> dict[str, Any]:
    """Return `k=v` arguments as keywords, values read as Python literals (`betas=0.9,0.99` is a pair).

    Raises:
        RequestError: one has another form.
    """
    found = {}
    for argument in given:
        name, equals, value = argument.partition("=")
        try:
            if not equals:
                raise ValueError(argument)
            found[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError) as error:
            raise RequestError(
                f'The optimizer argument "{argument}" must be name=value with a Python literal, such as '
                "weight_decay=0.01."
            ) from error
    return found


def make_optimizer(
    name: str,
    parameters: Sequence[torch.nn.Parameter],
    rate: float,
    given: Sequence[str],
    device: torch.device,
) -> tuple[torch.optim.Optimizer, str, str | None]:
    """Return (optimizer, its name for the metadata, a line about a fallback or None).

    Raises:
        RequestError: the name or an argument is unknown.
        MachineError: the package that has it is not installed.
    """
    arguments = optimizer_arguments(given)
    kind, note = _class(name, device)
    try:
        optimizer: torch.optim.Optimizer = kind(parameters, lr=rate, **arguments)
    except (TypeError, ValueError) as error:
        raise RequestError(f"{name} doesn't take these arguments ({' '.join(given)}): {error}.") from error
    said = ",".join(f"{key}={value}" for key, value in arguments.items())
    return optimizer, f"{kind.__module__}.{kind.__name__}" + (f"({said})" if said else ""), note


def _class(name: str, device: torch.device) -> tuple[Any, str | None]:
    known = {each.lower(): each for each in NAMES} | {"prodigy": PRODIGY}
    match known.get(name.lower()):
        case "prodigyopt.Prodigy":
            try:
                from prodigyopt import Prodigy
            except ImportError as error:
                raise MachineError(
                    "prodigyopt is missing. Run scripts/setup.sh diffusers in musabi's checkout."
                ) from error
            return Prodigy, None
        case "AdamW":
            return torch.optim.AdamW, None
        case "AdamW8bit":
            kind = _adamw_8bit() if device.type == "cuda" else None
            return (kind, None) if kind is not None else (torch.optim.AdamW, FALLBACK)
        case _:
            raise RequestError(
                f"The diffusers engine has no optimizer {name}; it has {', '.join(NAMES)}. The musubi engine "
                "has others."
            )


def _adamw_8bit() -> Any:  # noqa: ANN401
    try:
        return import_module("bitsandbytes.optim").AdamW8bit
    except Exception:  # a bitsandbytes that fits no CUDA raises all kinds of errors
        return None


def make_schedule(name: str, optimizer: torch.optim.Optimizer, warmup: int, steps: int, cycles: int) -> Any:  # noqa: ANN401
    """Return the learning-rate schedule over the whole run of `steps` steps (diffusers' get_scheduler).

    Raises:
        RequestError: the name is unknown, or it has no warm-up and one was asked for.
    """
    from diffusers.optimization import get_scheduler

    if name not in SCHEDULES:
        raise RequestError(
            f"The diffusers engine has no schedule {name}; it has {', '.join(SCHEDULES)}. The musubi engine has "
            "others."
        )
    if name == "constant" and warmup:
        raise RequestError(
            "The schedule constant has no warm-up. Take constant_with_warmup, or 0 warm-up steps."
        )
    return get_scheduler(
        name, optimizer, num_warmup_steps=warmup, num_training_steps=steps, num_cycles=cycles
    )


def rates(optimizer: torch.optim.Optimizer, schedule: Any) -> dict[str, float]:  # noqa: ANN401
    """Return the learning rates by their TensorBoard tags; Prodigy's own step size has one too."""
    found = {"lr/unet": float(schedule.get_last_lr()[0])}
    group = optimizer.param_groups[0]
    if "d" in group:
        found["lr/d*lr/unet"] = float(group["d"]) * float(group["lr"])
    return found
