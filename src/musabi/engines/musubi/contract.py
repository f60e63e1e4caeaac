"""The installed musubi-tuner's arguments, as planning holds its command lines against them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from musabi.contract import Fault, Surface, faults, installed_surface
from musabi.contract.installed import CACHE_NAME


@dataclass(frozen=True)
class Installed:
    """What the scripts of the installed version accept."""

    surface: Surface

    def flags(self, script: str) -> frozenset[str]:
        """Return the arguments that a script knows; empty where the script is not known."""
        known = self.surface.scripts.get(script)
        return frozenset(known.options) if known else frozenset()

    def faults(self, script: str, arguments: tuple[str, ...]) -> Sequence[Fault]:
        """Return what the script would refuse or misread."""
        return [fault for fault in faults(self.surface, script, arguments) if fault.refused]


def installed_contract(checkout: Path, state: Path) -> Installed:
    """Return what the musubi-tuner in `checkout` accepts; `state` is a folder to remember it in.

    Raises:
        MachineError: the checkout can't be read.
    """
    return Installed(installed_surface(checkout, state / CACHE_NAME))
