"""The folder layout of a workspace, as one object."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Workspace:
    """Where everything lies under one root (`WORKSPACE`, /workspace on a pod)."""

    root: Path

    @property
    def models(self) -> Path:
        return self.root / "models"

    @property
    def images(self) -> Path:
        return self.root / "dataset" / "images"

    @property
    def cache(self) -> Path:
        return self.root / "dataset" / "cache"

    @property
    def dataset_config(self) -> Path:
        return self.root / "dataset" / "dataset.toml"

    @property
    def sample_prompts(self) -> Path:
        return self.root / "dataset" / "sample_prompts.txt"

    @property
    def output(self) -> Path:
        return self.root / "output"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def runs(self) -> Path:
        """One folder a run: record.json, events.jsonl, log.txt."""
        return self.root / "runs"

    @property
    def checkout(self) -> Path:
        """musubi-tuner's source, on the volume."""
        return self.root / "musubi-tuner"

    @property
    def state(self) -> Path:
        """What the tool remembers about things on this volume."""
        return self.root / ".musabi"

    @property
    def bootstrap_marker(self) -> Path:
        return self.root / ".musubi_bootstrap_done"

    @property
    def folders(self) -> tuple[Path, ...]:
        """The folders that a workspace always has, in the order they are made."""
        return (
            *(self.models / kind for kind in ("dit", "vae", "text_encoder")),
            self.images,
            self.cache,
            self.output,
            self.logs,
            self.runs,
            self.root / "scripts",
            self.root / "notebooks",
            self.state,
        )
