"""What is the case on this machine: values only, gathered once before a plan is made."""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class MachineFacts:
    """The machine. `gpus` holds the memory of each visible GPU in bytes, in device order."""

    gpus: tuple[int, ...] = ()
    gpu_name: str = ""
    cpus: int = 1


@dataclass(frozen=True)
class BucketFacts:
    """One bucket of one dataset: its size in pixels and how many batches an epoch takes from it."""

    width: int
    height: int
    images: int
    batches: int


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


@dataclass(frozen=True)
class TrainerFacts:
    """The environment that the engine's commands run in.

    `python` is its interpreter, `root` the trainer's checkout (None for the embedded engine),
    `packages` the optional packages that were imported there when it was made. `missing` says, a sentence
    each with its mend, what the trainer needs besides and was not found; `flags` holds the arguments that
    the installed version knows, by step name (a step that is not in it is not checked).
    """

    python: Path
    root: Path | None = None
    commit: str = ""
    torch: str = ""
    packages: frozenset[str] = frozenset()
    accelerate_config: Path | None = None
    missing: tuple[str, ...] = ()
    flags: dict[str, frozenset[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Facts:
    """Everything that a plan depends on besides the job and the recipe.

    `environment` holds what every step gets besides what it inherits (no secret);
    `lora_parameters` is the number of values in the LoRA at the job's rank.
    """

    machine: MachineFacts
    dataset: DatasetFacts
    trainer: TrainerFacts
    environment: dict[str, str] = field(default_factory=dict)
    lora_parameters: int = 0
