"""Where the endpoint keeps things: one root on the volume, a folder a job, and what the jobs share."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

VOLUME = Path("/runpod-volume")
"""Where Runpod mounts a network volume into a serverless worker; its own SDK looks for this folder, too."""
TRASH = ".removing-"
"""How the name of a job's folder begins that is on its way out."""
PLAIN_ID = re.compile(r"[A-Za-z0-9_-]{1,100}")


@dataclass(frozen=True)
class Places:
    """The endpoint's folders. `volume` is the network volume, None where there is none."""

    root: Path
    volume: Path | None = None

    @property
    def models(self) -> Path:
        """Weights, a folder each, as in a pod's workspace."""
        return self.root / "models"

    @property
    def hf_home(self) -> Path:
        """The Hugging Face cache: tokenizers, captioning models."""
        return self.root / "cache" / "huggingface"

    @property
    def checkout(self) -> Path:
        """musubi-tuner."""
        return self.root / "musubi-tuner"

    @property
    def diffusion_pipe(self) -> Path:
        """diffusion-pipe's checkout, with its environment in .venv."""
        return self.root / "diffusion-pipe"

    @property
    def trainers(self) -> Path:
        """The environments of trainers that were set up on a network volume."""
        return self.root / "trainers"

    @property
    def state(self) -> Path:
        """What the tool remembers: bootstrap, what the trainers' scripts accept."""
        return self.root / ".musabi"

    @property
    def jobs(self) -> Path:
        return self.root / "jobs"

    @property
    def database(self) -> Path:
        """The queue of `musabi serve`."""
        return self.root / "endpoint.sqlite3"

    def job(self, job_id: str) -> Path:
        """Return the folder of a job; an id that is no plain name gets one made from its hash."""
        if PLAIN_ID.fullmatch(job_id):
            return self.jobs / job_id
        return self.jobs / f"id-{hashlib.sha256(job_id.encode(errors='surrogatepass')).hexdigest()[:32]}"


def places(workspace: Path, root: Path | None = None, volume: Path = VOLUME) -> Places:
    """Return the endpoint's places: `root` where it is given, else on the volume, else in the workspace."""
    mounted = volume if volume.is_dir() else None
    return Places(root or (mounted / "musabi" if mounted else workspace / "endpoint"), mounted)
