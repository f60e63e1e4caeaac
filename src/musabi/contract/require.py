"""Refuses a plan whose command lines the installed trainer would not take."""

from collections.abc import Iterable, Sequence

from musabi.contract.command_line import faults
from musabi.contract.made_for import committed
from musabi.contract.surface import Surface
from musabi.errors import MachineError, RequestError

Command = tuple[str, Sequence[str]]
"""A script by its path in the trainer's package, and what stands behind it on the command line."""


def require_accepted(surface: Surface, commands: Iterable[Command]) -> tuple[str, ...]:
    """Return notes on the commands of a plan: what the trainer takes, but a person may not have meant.

    Raises:
        RequestError: the trainer would refuse some of it; the message names all of it.
        MachineError: the same, but the version that musabi was made for would take it all.
    """
    plan = [(script, tuple(argv)) for script, argv in commands]
    found = [fault for script, argv in plan for fault in faults(surface, script, argv)]
    refused = list(dict.fromkeys(fault.message for fault in found if fault.refused))
    if not refused:
        return tuple(dict.fromkeys(fault.message for fault in found))
    usual = committed()
    if surface.fingerprint == usual.fingerprint or any(
        fault.refused for script, argv in plan for fault in faults(usual, script, argv)
    ):
        raise RequestError("\n".join(refused))
    raise MachineError(
        "\n".join(refused)
        + f"\nThe installed {surface.name} differs from {usual.name}, which musabi was made for: see "
        "musabi contract --diff. Unset MUSUBI_REF and run musabi bootstrap, or leave out what it can't do."
    )
