"""The learning rate's curve, drawn over the whole run also where a leg trains only the rest of it.

musubi-tuner draws a schedule over the steps of the launch. A resumed launch has fewer, so its curve would
be squeezed into them; the scheduler's own state restores how far it was, not how long it was meant to be.
`--lr_scheduler_type` takes any scheduler by its import path, and transformers' own functions, the very
ones behind `--lr_scheduler`, take the length of the whole run.
"""

from collections.abc import Sequence

from musabi.engines.musubi.extra import flags, value_of
from musabi.errors import RequestError

# Name -> (transformers' function, its further argument, the flag that holds it, that flag's default)
OVER_THE_RUN = {
    "linear": ("get_linear_schedule_with_warmup", None),
    "cosine": ("get_cosine_schedule_with_warmup", None),
    "cosine_with_restarts": (
        "get_cosine_with_hard_restarts_schedule_with_warmup",
        ("num_cycles", "--lr_scheduler_num_cycles", "1"),
    ),
    "polynomial": (
        "get_polynomial_decay_schedule_with_warmup",
        ("power", "--lr_scheduler_power", "1"),
    ),
}
WITHOUT_LENGTH = frozenset({"constant", "constant_with_warmup", "inverse_sqrt"})


def curve_of_the_rest(
    name: str, warmup_steps: int, whole_steps: int, processes: int, extra: Sequence[str]
) -> tuple[str, ...]:
    """Return the arguments that give a resumed leg the uninterrupted run's learning rates.

    `name` is musubi-tuner's name of the schedule, `warmup_steps` and `whole_steps` are optimizer steps of the
    whole run. accelerate moves a scheduler on once a process and step. Where the extra arguments name a
    scheduler class of their own, its length is theirs to say.

    Raises:
        RequestError: the schedule that the extra arguments ask for can't be continued.
    """
    if "--lr_scheduler_type" in flags(extra):
        return ()
    name = value_of(extra, "--lr_scheduler") or name
    if name in WITHOUT_LENGTH:
        return ()
    if name not in OVER_THE_RUN:
        raise RequestError(
            f"A run with --lr_scheduler {name} can't be resumed with the same learning rates. "
            f"These can: {', '.join(sorted(OVER_THE_RUN.keys() | WITHOUT_LENGTH))}."
        )
    function, further = OVER_THE_RUN[name]
    warmup = _warmup(value_of(extra, "--lr_warmup_steps"), warmup_steps, whole_steps)
    arguments = [f"num_warmup_steps={warmup * processes}", f"num_training_steps={whole_steps * processes}"]
    if further is not None:
        keyword, flag, default = further
        arguments.append(f"{keyword}={value_of(extra, flag) or default}")
    return ("--lr_scheduler_type", f"transformers.{function}", "--lr_scheduler_args", *arguments)


def _warmup(given: str | None, planned: int, whole_steps: int) -> int:
    """Return the warm-up in steps; musubi-tuner takes a number of steps, a share below 1 or a percentage."""
    if given is None:
        return planned
    if given.endswith("%"):
        return int(float(given[:-1]) / 100 * whole_steps)
    return int(float(given) * whole_steps) if float(given) < 1 else int(given)
