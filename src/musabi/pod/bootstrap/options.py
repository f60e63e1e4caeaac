"""What the bootstrap is asked for: the settings that it reads, and nothing else."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from musabi.hub.access import Access
from musabi.hub.weights import Places, hub_cache
from musabi.pod.furnish import source_root
from musabi.workspace import Workspace

PYTORCH_INDEX = "https://download.pytorch.org/whl"


@dataclass(frozen=True)
class BootstrapOptions:
    """The fields are named as the settings are; `environment` is what every child process inherits.

    `diffusion_pipe_ref` is a full commit id, `diffusion_pipe_packages_of` the moment (RFC 3339) whose newest packages
    its environment gets, since it pins nearly none (empty: today's).
    `only` names the sets of weights to fetch; all where it is empty.
    `source_root` holds the root's `*.sh` and templates, `baked_checkout` the checkout that an image may carry.
    `stall_s` (seconds without a byte), `backoff_s`
    (seconds before a second attempt) and `attempts` say how patient the network stages are.
    """

    workspace: Path = Path("/workspace")
    model: str = "z-image"
    only: tuple[str, ...] = ()
    musubi_repo_url: str = "https://github.com/kohya-ss/musubi-tuner.git"
    musubi_ref: str = "v0.3.4"
    musubi_python: str = "3.12"
    musubi_cuda_extra: str = "cu128"
    musubi_torch_version: str = "2.9.1"
    musubi_torchvision_version: str = "0.24.1"
    diffusion_pipe_repo_url: str = "https://github.com/tdrussell/diffusion-pipe"
    diffusion_pipe_ref: str = "8f83dbf25d03219df705570ec03e62be04bc402f"
    diffusion_pipe_packages_of: str = "2026-08-21T00:00:00Z"
    skip_model_download: bool = False
    hf_max_workers: int = 16
    hf_home: Path = Path("/workspace/.cache/huggingface")
    hf_token_path: Path | None = None
    hf_hub_download_timeout: int = 30
    hf_hub_etag_timeout: int = 10
    hf_xet_high_performance: bool = True
    musabi_state_dir: Path = Path("~/.local/share/musabi")
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ), repr=False)
    source_root: Path = field(default_factory=source_root)
    baked_checkout: Path = Path("/opt/musabi/musubi-tuner")
    stall_s: float = 60
    backoff_s: float = 2
    attempts: int = 5

    @property
    def space(self) -> Workspace:
        return Workspace(self.workspace)

    @property
    def state_dir(self) -> Path:
        """What belongs to this container: its state, our uv project, the trainer's environment."""
        return self.musabi_state_dir.expanduser()

    @property
    def venv(self) -> Path:
        return self.state_dir / "venv"

    @property
    def python(self) -> Path:
        """The trainer's interpreter."""
        return self.venv / "bin" / "python"

    @property
    def project(self) -> Path:
        """The uv project that pins torch."""
        return self.state_dir / "trainer"

    @property
    def torch_index(self) -> str:
        return f"{PYTORCH_INDEX}/{self.musubi_cuda_extra}"

    @property
    def child_environment(self) -> dict[str, str]:
        """The environment of every child: what was inherited, the Hugging Face settings over it."""
        inherited = {name: value for name, value in self.environment.items() if name not in DROPPED}
        token_path = {"HF_TOKEN_PATH": str(self.hf_token_path)} if self.hf_token_path else {}
        return (
            inherited
            | token_path
            | {
                "HF_HOME": str(self.hf_home),
                "HF_HUB_DOWNLOAD_TIMEOUT": str(self.hf_hub_download_timeout),
                "HF_HUB_ETAG_TIMEOUT": str(self.hf_hub_etag_timeout),
                "HF_XET_HIGH_PERFORMANCE": str(int(self.hf_xet_high_performance)),
                "GIT_TERMINAL_PROMPT": "0",
            }
        )

    @property
    def access(self) -> Access:
        """How the hub is reached."""
        return Access(
            self.child_environment, self.hf_max_workers, self.stall_s, self.backoff_s, self.attempts
        )

    @property
    def places(self) -> Places:
        """Where weights go."""
        return Places(self.space.models, hub_cache(self.child_environment))


# An activated environment must not draw uv's or pip's work to itself.
DROPPED = frozenset({"VIRTUAL_ENV", "UV_PROJECT_ENVIRONMENT", "UV_PYTHON", "CONDA_PREFIX", "PYTHONHOME"})
