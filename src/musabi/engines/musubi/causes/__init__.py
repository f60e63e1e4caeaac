"""The known ways in which a step of musubi-tuner fails, as data: one row each, by what they are about."""

from musabi.engines.musubi.causes.arguments import ARGUMENTS
from musabi.engines.musubi.causes.cause import Cause
from musabi.engines.musubi.causes.dataset import DATASET
from musabi.engines.musubi.causes.environment import ENVIRONMENT
from musabi.engines.musubi.causes.files import FILES
from musabi.engines.musubi.causes.hub import HUB
from musabi.engines.musubi.causes.machine import MACHINE_ROWS
from musabi.engines.musubi.causes.network import NETWORK
from musabi.engines.musubi.causes.weights import WEIGHTS

CAUSES: tuple[Cause, ...] = (
    *FILES,
    *MACHINE_ROWS,
    *ENVIRONMENT,
    *HUB,
    *ARGUMENTS,
    *NETWORK,
    *WEIGHTS,
    *DATASET,
)

__all__ = ["CAUSES", "Cause"]
