"""Where diffusion-pipe's things lie in a workspace."""

from dataclasses import dataclass
from pathlib import Path

from musabi.workspace import Workspace


@dataclass(frozen=True)
class PipePlaces:
    """The folders of one job's diffusion-pipe, in the job's workspace."""

    space: Workspace

    @property
    def checkout(self) -> Path:
        """diffusion-pipe's source, or a link to the one that jobs share, with its environment in .venv."""
        return self.space.root / "diffusion-pipe"

    @property
    def root(self) -> Path:
        return self.space.root / "diffusion_pipe"

    @property
    def config(self) -> Path:
        return self.root / "job.toml"

    @property
    def dataset(self) -> Path:
        return self.root / "dataset.toml"

    @property
    def trainings(self) -> Path:
        """diffusion-pipe's output_dir: a folder a training, named by its time."""
        return self.root / "trainings"
