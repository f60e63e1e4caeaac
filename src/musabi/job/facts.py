"""What is the case on this machine: values only, gathered once before a plan is made."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from musabi.job.prompt import Prompt


@dataclass(frozen=True)
class MachineFacts:
    """The machine. `gpus` holds the memory of each visible GPU in bytes, in device order.

    `ram` is the main memory that this container may use, in bytes (0: unknown).
    """

    gpus: tuple[int, ...] = ()
    gpu_name: str = ""
    cpus: int = 1
    ram: int = 0


@dataclass(frozen=True)
class BucketFacts:
    """One bucket of one dataset: its size in pixels and how many batches an epoch takes from it.

    `frames` of its clips (1: pictures), `batch` is how many of its items a full batch has.
    """

    width: int
    height: int
    images: int
    batches: int
    frames: int = 1
    batch: int = 1


@dataclass(frozen=True)
class CacheFacts:
    """The state of one kind of cache ("latents" or "text") for the dataset as it is now.

    `expected` counts the files that a full cache has, `stale` lists the files that were made from
    something else (another caption, resolution, model), are not whole or belong to no image any more;
    `missing` counts the expected files that are not there. `stamp` names a file for each dataset, and
    the text to write into it before a caching step starts and after the stale files were discarded.
    """

    expected: int = 0
    missing: int = 0
    stale: tuple[Path, ...] = ()
    stamp: tuple[tuple[Path, str], ...] = ()

    @property
    def fresh(self) -> bool:
        return self.expected > 0 and not self.missing and not self.stale


@dataclass(frozen=True)
class DatasetFacts:
    """The dataset as the trainer will see it. `images` counts those that have a caption."""

    images: int
    batches_per_epoch: int
    buckets: tuple[BucketFacts, ...] = ()
    fingerprint: str = ""
    latents: CacheFacts = CacheFacts()
    text: CacheFacts = CacheFacts()


class Fault(Protocol):
    """An argument that a script would refuse or misread, and why, in a sentence."""

    @property
    def flag(self) -> str: ...
    @property
    def message(self) -> str: ...


class Contract(Protocol):
    """What the installed version of a trainer accepts."""

    def flags(self, script: str) -> frozenset[str]:
        """Return the arguments that a script knows; empty where the script is not known."""
        ...

    def faults(self, script: str, arguments: tuple[str, ...]) -> Sequence[Fault]:
        """Return what is wrong with a script's arguments."""
        ...


@dataclass(frozen=True)
class TrainerFacts:
    """The environment that the engine's commands run in.

    `python` is its interpreter, `root` the trainer's checkout (None for the embedded engine),
    `packages` the optional packages that were imported there when it was made. `missing` says, a sentence
    each with its mend, what the trainer needs besides and was not found, by step; `contract` is what the
    installed version's scripts accept (None: not checked).
    """

    python: Path
    root: Path | None = None
    commit: str = ""
    torch: str = ""
    packages: frozenset[str] = frozenset()
    accelerate_config: Path | None = None
    missing: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    contract: Contract | None = None


@dataclass(frozen=True)
class Facts:
    """Everything that a plan depends on besides the job and the recipe.

    `environment` holds what every step gets besides what it inherits (no secret);
    `lora_parameters` is the number of values in the LoRA at the job's rank; `dit_dtype` is the number format
    of the DiT's file as safetensors spells it ("BF16", "F16", ...), empty where it can't be read;
    `prompts` are those of the prompt file, where the plan renders any; `notes` says what is not here yet, where
    a plan is only looked at;
    `adapter_is_native` tells whether the adapter's copy with native keys is there and not older than it.
    """

    machine: MachineFacts
    dataset: DatasetFacts
    trainer: TrainerFacts
    environment: dict[str, str] = field(default_factory=dict)
    lora_parameters: int = 0
    dit_dtype: str = ""
    adapter_is_native: bool = False
    prompts: tuple[Prompt, ...] = ()
    notes: tuple[str, ...] = ()
