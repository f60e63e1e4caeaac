"""The contract with the installed trainer: which scripts, arguments and dataset keys its version knows.

The trainer's source is read, never imported: many of its scripts can't be without a GPU. What is asked for here
is loaded then and no sooner, since a plan needs little of it and a trainer waits for the plan.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from musabi.contract.changes import differences as differences
    from musabi.contract.command_line import faults as faults
    from musabi.contract.dataset_toml import dataset_faults as dataset_faults
    from musabi.contract.fault import Fault as Fault
    from musabi.contract.installed import installed_surface as installed_surface
    from musabi.contract.installed import is_committed as is_committed
    from musabi.contract.made_for import committed as committed
    from musabi.contract.read import read_surface as read_surface
    from musabi.contract.require import require_accepted as require_accepted
    from musabi.contract.surface import DatasetKey as DatasetKey
    from musabi.contract.surface import Option as Option
    from musabi.contract.surface import Script as Script
    from musabi.contract.surface import Surface as Surface

_HOMES = {
    "DatasetKey": "surface",
    "Fault": "fault",
    "Option": "surface",
    "Script": "surface",
    "Surface": "surface",
    "committed": "made_for",
    "dataset_faults": "dataset_toml",
    "differences": "changes",
    "faults": "command_line",
    "installed_surface": "installed",
    "is_committed": "installed",
    "read_surface": "read",
    "require_accepted": "require",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever is exported
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
