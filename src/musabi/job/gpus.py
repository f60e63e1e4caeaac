"""Which GPUs a run gets. Pure.

A GPU's number is nvidia-smi's. Where CUDA_VISIBLE_DEVICES is set, it lists the GPUs that count, in order.
"""

from dataclasses import dataclass, field, replace

from musabi.errors import MachineError
from musabi.job.facts import MachineFacts

VISIBLE = "CUDA_VISIBLE_DEVICES"
# CUDA's own order is the fastest first; nvidia-smi's is by place on the bus.
ORDER = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}


@dataclass(frozen=True)
class Share:
    """What one run gets of a machine. `environment` keeps its steps to these GPUs; empty where it gets all."""

    machine: MachineFacts
    environment: dict[str, str] = field(default_factory=dict)


def names(count: int, visible: str | None) -> tuple[str, ...]:
    """Return what CUDA_VISIBLE_DEVICES calls each of `count` GPUs, in device order; `visible` is its value."""
    if visible is None:
        return tuple(map(str, range(count)))
    listed = [part.strip() for part in visible.split(",") if part.strip()]
    return tuple([part for part in listed if part.isdigit()] or listed)[:count]


def numbers(count: int, visible: str | None) -> tuple[int, ...]:
    """Return the numbers of `count` GPUs; () where they are named by identifiers, so that all count as taken."""
    found = names(count, visible)
    return tuple(map(int, found)) if all(name.isdigit() for name in found) else ()


def first(machine: MachineFacts, wanted: int | None, visible: str | None) -> Share:
    """Return the first `wanted` GPUs, all where None.

    Raises:
        MachineError: there are fewer.
    """
    there = len(machine.gpus)
    if wanted is None or wanted == there:
        return Share(machine)
    if wanted > there:
        raise MachineError(
            f"GPUS={wanted} asks for {_counted(wanted)}, but there {_are(there)} here. Unset GPUS: all are used then."
        )
    return _share(machine, tuple(range(wanted)), visible)


def one_each(machine: MachineFacts, visible: str | None) -> tuple[Share, ...]:
    """Return a share for each GPU.

    Raises:
        MachineError: there is no GPU.
    """
    if not machine.gpus:
        raise MachineError("GPUS=each starts one run a GPU, but there is no GPU here. Unset GPUS.")
    return tuple(_share(machine, (place,), visible) for place in range(len(machine.gpus)))


def _share(machine: MachineFacts, places: tuple[int, ...], visible: str | None) -> Share:
    called = names(len(machine.gpus), visible)
    part = replace(machine, gpus=tuple(machine.gpus[place] for place in places))
    return Share(part, {VISIBLE: ",".join(called[place] for place in places), **ORDER})


def _counted(count: int) -> str:
    return "1 GPU" if count == 1 else f"{count} GPUs"


def _are(count: int) -> str:
    return "is no GPU" if not count else f"{'is' if count == 1 else 'are'} only {_counted(count)}"
