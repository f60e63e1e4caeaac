"""What the doctor looks at: one machine, its settings, and where the kernel writes about it."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

from musabi.children import secrets
from musabi.engines.musubi.environment import FACTS_NAME
from musabi.errors import RequestError
from musabi.hub.access import Access
from musabi.hub.fetch import whole
from musabi.hub.weights import Places, Wanted, hub_cache, wanted_sets
from musabi.job.record import RunRecord, newest_run
from musabi.pod.bootstrap.options import DROPPED
from musabi.pod.bootstrap.state import bootstrap_status, volume_state
from musabi.pod.doctor.texts import RENEW
from musabi.pod.places import PodPlaces
from musabi.pod.state_dir import found_places
from musabi.recipes import Recipe, load
from musabi.settings import Settings
from musabi.whole import read_json

REQUEST_SECONDS = 8.0


@dataclass(frozen=True)
class Scene:
    """One machine to look at. `proc` and `cgroup` are where the kernel writes about it."""

    settings: Settings
    environ: Mapping[str, str] = field(repr=False)
    proc: Path = Path("/proc")
    cgroup: Path = Path("/sys/fs/cgroup")

    @property
    def engine(self) -> Literal["musubi", "diffusers"]:
        return "diffusers" if self.settings.engine == "diffusers" else "musubi"

    @property
    def wants_gpu(self) -> bool:
        """Whether the trainer that is asked for needs a GPU: musubi-tuner does, unless it is set up for the CPU."""
        return self.engine == "musubi" and self.settings.musubi_cuda_extra != "cpu"

    @property
    def has_driver(self) -> bool:
        """Whether NVIDIA's kernel module is loaded on this host."""
        return (self.proc / "driver" / "nvidia" / "version").exists()

    @property
    def recipe(self) -> Recipe:
        return load(self.settings.model)

    @property
    def child_environment(self) -> dict[str, str]:
        """What a child of a look inherits."""
        inherited = {name: value for name, value in self.environ.items() if name not in DROPPED}
        return inherited | self.settings.child_environment

    @property
    def access(self) -> Access:
        """How the hub is asked: once, and not for long."""
        return Access(self.child_environment, attempts=1, request_s=REQUEST_SECONDS)

    @property
    def places(self) -> Places:
        return Places(self.settings.space.models, hub_cache(self.child_environment))

    @property
    def pod(self) -> PodPlaces:
        """Where the boot left the pod's own files."""
        return found_places(self.environ)

    @property
    def venv(self) -> Path:
        """musubi-tuner's environment: as it is linked into the checkout, else where it is made."""
        linked = self.settings.space.checkout / ".venv"
        return linked if linked.exists() else self.settings.musabi_state_dir / "venv"

    @property
    def renew(self) -> str:
        """How the trainer's environment is made anew, for a person."""
        return RENEW[self.engine].format(venv=self.venv)

    @property
    def trainer_python(self) -> Path | None:
        """The interpreter that trains, or None where musubi-tuner's environment is not proven yet."""
        if self.engine == "diffusers":
            return Path(sys.executable)
        python = self.venv / "bin" / "python"
        proven = read_json(self.venv / FACTS_NAME) is not None
        return python if proven and python.exists() else None

    @property
    def trains_with_flash(self) -> bool:
        """Whether the environment's own facts say that flash-attn works, so that training uses it."""
        known = read_json(self.venv / FACTS_NAME)
        return self.engine == "musubi" and isinstance(known, dict) and bool(known.get("flash_attn"))

    @property
    def has_checkout(self) -> bool:
        return (self.settings.space.checkout / self.recipe.package).is_dir()

    @cached_property
    def missing_weights(self) -> tuple[Wanted, ...]:
        """The sets of weights that the bootstrap still has to fetch."""
        if self.engine == "diffusers" or self.settings.skip_model_download:
            return ()
        known = volume_state(self.settings.space).files()
        return tuple(
            wanted for wanted in wanted_sets(self.settings.model) if not whole(wanted, self.places, known)
        )

    @cached_property
    def bootstrap_at_work(self) -> bool:
        status = bootstrap_status(self.settings.space)
        return status is not None and status["state"] == "running"

    @cached_property
    def newest_run(self) -> RunRecord | None:
        """The newest run's record; None where there is none, or none that can be read."""
        try:
            folder = newest_run(self.settings.space.runs)
            return folder.load() if folder else None
        except (RequestError, ValueError):
            return None

    @cached_property
    def hidden(self) -> tuple[str, ...]:
        """Every value that must not be shown: secrets of the environment and of the files that hold some."""
        values = [*secrets(self.environ), self.access.token or "", _text(self.pod.token)]
        return tuple(value for value in values if len(value) >= 6)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""
