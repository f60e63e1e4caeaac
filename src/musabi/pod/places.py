"""Where the pod keeps its own things: on the container's disk, gone with the container."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class PodPlaces:
    """The files of a running pod, under `MUSABI_STATE_DIR/pod`. Secrets among them are 0600.

    `etc` and `home` are the system's folders that a boot writes into (profile.d, sshd's files, .ssh).
    """

    state_dir: Path
    etc: Path = Path("/etc")
    home: Path = Path("/root")

    @property
    def root(self) -> Path:
        """0700: only its owner looks in."""
        return self.state_dir / "pod"

    @property
    def token(self) -> Path:
        """JupyterLab's token, without a newline. Secret."""
        return self.root / "jupyter-token"

    @property
    def environment(self) -> Path:
        """The container's environment for login shells. Secret."""
        return self.root / "environment.sh"

    @property
    def jupyter_config(self) -> Path:
        """The folder that holds jupyter_server_config.py."""
        return self.root / "jupyter"

    @property
    def logs(self) -> Path:
        """One log a service: jupyter.log, bootstrap.log, tensorboard.log, sshd.log, guard.log."""
        return self.root / "logs"

    @property
    def boot(self) -> Path:
        """boot.json: what the boot did and what it supervises; see musabi.pod.boot."""
        return self.root / "boot.json"

    @property
    def report(self) -> Path:
        """report.json: the rows of the boot report."""
        return self.root / "report.json"

    @property
    def guard(self) -> Path:
        """guard.json: the deadline, the idle clock and an announced stop; see musabi.pod.stopping."""
        return self.root / "guard.json"

    @property
    def keep(self) -> Path:
        """keep.json: a person's wish that an announced stop be called off."""
        return self.root / "keep.json"
