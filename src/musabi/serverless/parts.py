"""What the phases of a job hand to each other, as values."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

EngineOfJob = Literal["musubi", "diffusers", "diffusion_pipe"]
FALLBACK = "There is no link. The files are on the endpoint's volume, at network_volume_path."


@dataclass(frozen=True)
class EngineChoice:
    """Who trains, and what. `model` is a recipe's name, or diffusion-pipe's type such as flux or sdxl.

    `title` is the model's name for people ("Qwen Image"), `why` says in a sentence why this engine.
    """

    engine: EngineOfJob
    model: str
    title: str
    why: str


@dataclass(frozen=True)
class BroughtDataset:
    """What came into the job's dataset. `images` and `videos` are folders, None where there are none of it.

    `uncaptioned` are the files without a caption; `left_out` are (name, why) of what was not taken.
    """

    images: Path | None
    videos: Path | None
    image_count: int = 0
    video_count: int = 0
    uncaptioned: tuple[Path, ...] = ()
    left_out: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class JobWeights:
    """The weights of a job. `rows` are settings for musabi run (dit_path, vae_path, ...), or what diffusion-pipe's
    TOML takes under [model] by key (diffusers_path, checkpoint_path, ...); texts are paths."""

    rows: dict[str, Any]
    hf_home: Path


@dataclass(frozen=True)
class Trained:
    """A finished training, ready to be handed over.

    `comfy` is the LoRA with the keys that ComfyUI and the original's clients load, `native` the trainer's own
    (None where it is the same file). `latest_epoch` is the original's name of it: epoch100. `epochs` counts
    epochs, `steps` optimizer steps, `seconds` the training.
    """

    name: str
    comfy: Path
    native: Path | None
    epochs: int
    latest_epoch: str
    steps: int
    rank: int
    alpha: float
    base_model: str | None
    run: Path | None = None
    samples: tuple[Path, ...] = ()
    trigger: str | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class Delivery:
    """Where a LoRA can be had. Fields as the response's `output` names them; sizes in MB (10^6 bytes)."""

    download_method: str
    download_url: str | None = None
    safetensors_url: str | None = None
    repo_url: str | None = None
    expires_in_days: int | None = None
    archive_size_mb: float | None = None
    network_volume_path: str | None = None
    note: str | None = None
    files: tuple[str, ...] = ()
    warnings: tuple[str, ...] = field(default=())

    def as_json(self) -> dict[str, Any]:
        """Return the response's `output` object, as the original has it.

        `note`, `warnings` and `fallback_instructions` are there only where there is something to say.
        """
        values: dict[str, Any] = {
            "download_url": self.download_url,
            "safetensors_url": self.safetensors_url,
            "repo_url": self.repo_url,
            "download_method": self.download_method,
            "expires_in_days": self.expires_in_days,
            "archive_size_mb": self.archive_size_mb,
            "network_volume_path": self.network_volume_path,
        }
        said: dict[str, Any] = {"note": self.note, "warnings": list(self.warnings)}
        if self.download_url is None and self.network_volume_path is not None:
            said["fallback_instructions"] = FALLBACK
        return values | {name: text for name, text in said.items() if text}
