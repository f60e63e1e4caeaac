"""Whether the pod is used: by a run, a bootstrap, the GPU, the network or a visitor. One look, as a value."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from musabi.pod.aside import Aside
from musabi.pod.bootstrap.state import bootstrap_status
from musabi.pod.stopping.gpu import GpuLook
from musabi.pod.stopping.run_here import work_going_on
from musabi.pod.stopping.store import pod_places
from musabi.pod.stopping.visitors import files_changed, jupyter_use, keys_typed
from musabi.settings import Settings

# An idle GPU with a desktop or a monitoring tool on it shows a few percent.
GPU_PERCENT = 5
# An open JupyterLab tab that asks every ten seconds moves some 2 KB/s; a download or upload a hundred times that.
BYTES_PER_SECOND = 100_000
NET_DEV = Path("/proc/net/dev")


@dataclass(frozen=True)
class Use:
    """When the pod was last used (Unix seconds) and by what, in a few words."""

    last: float
    doing: str


class Activity:
    """Looks at the pod. It remembers the network's counters between two looks."""

    def __init__(
        self,
        settings: Settings,
        *,
        gpu: GpuLook | None = None,
        now: Callable[[], float] = time.time,
        terminals: Path = Path("/dev/pts"),
        net_dev: Path = NET_DEV,
    ) -> None:
        self._settings = settings
        self._gpu = GpuLook() if gpu is None else gpu
        self._now = now
        self._terminals = terminals
        self._net_dev = net_dev
        self._moved: tuple[float, int] | None = None
        self._aside = Aside()
        self.troubles: set[str] = set()

    def look(self) -> Use | None:
        """Return the newest use that can be seen, or None where there is none at all.

        A sign that can't be read does not hide the others; `troubles` says which, for the log.
        """
        now = self._now()
        found = []
        for sign in (
            self._run,
            self._bootstrap,
            self._gpu_use,
            self._network,
            self._jupyter,
            self._typed,
            self._changed,
        ):
            try:
                use = sign(now)
            except Exception as problem:
                self.troubles.add(f"{sign.__name__.strip('_')}: {type(problem).__name__}: {problem}")
                continue
            # A time in the future proves nothing.
            if use is not None and use.last <= now:
                found.append(use)
        return max(found, key=lambda use: use.last, default=None)

    def _run(self, now: float) -> Use | None:
        run = self._aside.do("the runs", lambda: work_going_on(self._settings.space))
        return Use(now, f"{run} is running") if run else None

    def _bootstrap(self, now: float) -> Use | None:
        status = self._aside.do("the bootstrap", lambda: bootstrap_status(self._settings.space))
        going_on = status is not None and status.get("state") == "running"
        return Use(now, "the bootstrap is running") if going_on else None

    def _gpu_use(self, now: float) -> Use | None:
        percent = self._gpu.busiest()
        return (
            Use(now, f"the GPU is at {percent} %") if percent is not None and percent > GPU_PERCENT else None
        )

    def _network(self, now: float) -> Use | None:
        """Downloads and uploads of any program, JupyterLab's uploads among them."""
        before, self._moved = self._moved, (now, bytes_moved(self._net_dev))
        if before is None or now <= before[0]:
            return None
        rate = (self._moved[1] - before[1]) / (now - before[0])
        return Use(now, f"{rate / 1e6:.1f} MB/s go over the network") if rate > BYTES_PER_SECOND else None

    def _jupyter(self, now: float) -> Use | None:
        settings = self._settings
        try:
            token: str | None = pod_places(settings).token.read_text(encoding="utf-8").strip()
        except OSError:
            token = settings.jupyter_token or settings.jupyter_password
        found = jupyter_use(settings.jupyter_port, token, now)
        return Use(*found) if found else None

    def _typed(self, _now: float) -> Use | None:
        typed = keys_typed(self._terminals)
        return None if typed is None else Use(typed, "somebody typed at a terminal")

    def _changed(self, _now: float) -> Use | None:
        root = self._settings.space.root
        folders = (root / "dataset", root / "notebooks")
        changed = self._aside.do("the dataset", lambda: files_changed(folders))
        return None if changed is None else Use(changed, "files were changed")


def bytes_moved(net_dev: Path = NET_DEV) -> int:
    """Return how many bytes this container received and sent, loopback left out (proc(5), net/dev)."""
    try:
        lines = net_dev.read_text(encoding="ascii").splitlines()[2:]
    except (OSError, UnicodeDecodeError):
        return 0
    total = 0
    for line in lines:
        name, _, numbers = line.partition(":")
        fields = numbers.split()
        if name.strip() != "lo" and len(fields) >= 9:
            total += int(fields[0]) + int(fields[8])
    return total
