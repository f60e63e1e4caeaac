"""A pod's files, written as the boot, the bootstrap, a runner and the guard write them."""

import json
import time
from pathlib import Path
from typing import Any

from musabi.job.events import Event
from musabi.job.record import Leg, ProducedFile, RunFolder, RunRecord, RunState, StepOutcome, own_process
from musabi.pod.bootstrap.state import volume_state
from musabi.pod.places import PodPlaces
from musabi.pod.stopping.deadline import Announcement
from musabi.pod.stopping.store import Store
from musabi.workspace import Workspace

HOSTILE = '<script>document.title="taken"</script><img src=x onerror=alert(1)>"\'&'
NOT_OURS = ("", "{", "null", "[]", "7", '{"run": 7}', '{"services": [1]}', '{"rows": 3}')
"""What a file of the pod's may hold that is no such file."""


class Standing:
    """One pod in a folder; each method writes one of its files."""

    def __init__(self, folder: Path) -> None:
        self.space = Workspace(folder / "ws")
        self.places = PodPlaces(folder / "state")
        self.places.root.mkdir(parents=True)
        self.space.state.mkdir(parents=True)

    @property
    def environ(self) -> dict[str, str]:
        return {"WORKSPACE": str(self.space.root), "MUSABI_STATE_DIR": str(self.places.state_dir)}

    def report(self, *rows: tuple[str, str, str], more: tuple[str, ...] = ()) -> None:
        values = [{"name": name, "state": state, "text": text, "more": more} for name, state, text in rows]
        self.places.report.write_text(json.dumps({"made": time.time(), "rows": values}))

    def services(self, **services: tuple[str, str]) -> None:
        values = {name: {"state": state, "message": said} for name, (state, said) in services.items()}
        self.places.boot.write_text(json.dumps({"started": time.time(), "services": values}))

    def bootstrap(self, state: str, **stages: dict[str, Any]) -> None:
        file = volume_state(self.space)
        file.start_run("musubi", list(stages))
        for name, values in stages.items():
            file.progress(name, **values)
        if state != "running":
            file.end_run(state)

    def announce(self, action: Any, why: str, seconds: float) -> None:
        now = time.time()
        Store(self.places).announce(Announcement(action, "idle", now, now + seconds, why))

    def run(
        self, state: RunState, *, steps: int = 100, done: int = 40, name: str = "demo", **changes: Any
    ) -> RunFolder:
        folder = RunFolder(self.space.runs / f"{name.replace('/', '')[:20]}-{time.time_ns()}")
        folder.path.mkdir(parents=True)
        pid, started = own_process()
        record = RunRecord(
            id=folder.path.name,
            state=state,
            pid=pid,
            pid_started=started,
            job={"output_name": name, "output_dir": str(self.space.output)},
            plan={"schedule": {"steps": steps, "epochs": 10, "steps_per_epoch": steps // 10}, "steps": []},
            legs=[Leg(started=time.time(), epochs=10, steps=steps, steps_per_epoch=steps // 10)],
            steps=[StepOutcome(name="train", title="Train the LoRA", argv=[], state="running")],
            files=[ProducedFile(kind="checkpoint", path=Path(f"{name}.safetensors"), size=8500, made=1.0)],
        )
        folder.save(record.model_copy(update=changes))
        with folder.events_file.open("w") as file:
            for step in range(1, done + 1):
                event = Event(
                    "train", step=step, steps=steps, epoch=1, epochs=10, loss=0.5 + 1 / step, s_per_step=1.2,
                    eta_s=(steps - step) * 1.2,
                )  # fmt: skip
                file.write(event.to_json() + "\n")
        return folder

    def hold_everywhere(self, text: str) -> None:
        """Let every file that tells how a pod stands hold this text, a run's record too."""
        for file in (
            self.places.boot,
            self.places.report,
            self.places.guard,
            self.space.state / "bootstrap.json",
        ):
            file.write_text(text)
        (self.space.runs / "x").mkdir(parents=True)
        (self.space.runs / "x" / "record.json").write_text(text)

    def everything(self) -> None:
        """A pod in the middle of things, with something wrong in it."""
        self.report(
            ("GPU", "ok", "NVIDIA H100 80GB, driver 570.86, CUDA 12.8."),
            ("disk", "note", "12 GB are free on the volume, and a training writes about 14 GB."),
            ("hub", "blocks", "The hub does not know the token."),
            more=("Make room, or keep fewer states: KEEP_LAST_STATES=1.",),
        )
        self.services(jupyter=("running", ""), bootstrap=("failed", "exit code 3: clone"), sshd=("off", ""))
        self.bootstrap(
            "failed",
            layout={"state": "done"},
            clone={
                "state": "failed",
                "message": "https://example.invalid/musubi-tuner.git could not be cloned: no DNS. "
                "Check MUSUBI_REPO_URL and the network, then run musabi bootstrap again.",
            },
            environment={"state": "blocked", "message": "needs clone"},
            weights={
                "state": "running",
                "bytes": 7_300_000_000,
                "total": 20_600_000_000,
                "eta_s": 431.0,
            },
        )
        self.run(RunState.RUNNING)
        self.announce("stop", "nothing was done here for 30 minutes", 95)
