"""A machine in a folder, as far as the doctor looks at one, and stand-ins for what NVIDIA and the trainer bring."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from musabi.identity import identity
from musabi.job.launch import new_run_folder
from musabi.job.record import RunRecord, RunState, own_process
from musabi.pod.doctor.finding import Finding
from musabi.pod.doctor.scene import Scene
from musabi.settings import load

SMI = "NVIDIA H100 80GB HBM3, 80000, 81559, 9.0"


@dataclass
class Machine:
    """One machine. `scene` is what the doctor sees of it; `environ` is all of its environment."""

    root: Path
    environ: dict[str, str] = field(default_factory=dict)

    @property
    def workspace(self) -> Path:
        return self.root / "workspace"

    @property
    def state(self) -> Path:
        return self.root / "state"

    def write(self, files: Mapping[str, str]) -> None:
        """Write files by their paths under the machine's root."""
        for name, text in files.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")

    def scene(self, **environ: str) -> Scene:
        environ = self.environ | environ
        return Scene(load(environ), environ, proc=self.root / "proc", cgroup=self.root / "cgroup")


def standin_smi(machine: Machine, version: str, *rows: str, refuses: bool = False) -> None:
    """Put a stand-in nvidia-smi on the machine's PATH that answers to --query-gpu alone."""
    answer = "\n".join(f"{version}, {row}" for row in rows)
    script = machine.root / "bin" / "nvidia-smi"
    machine.write({"bin/nvidia-smi": f"""#!/bin/sh
case "$1 $2" in
"--query-gpu=driver_version,name,memory.free,memory.total,compute_cap --format=csv,noheader,nounits") ;;
*) echo "the table is for people" ; exit 1 ;;
esac
{"exit 9" if refuses else ""}
cat <<'END'
{answer}
END
"""})  # fmt: skip
    script.chmod(0o755)


def standin_environment(machine: Machine, python: str, cuda: str | None = None, flash: bool = False) -> Path:
    """Make an environment of the trainer whose Python is the script `python`; return its folder."""
    venv = machine.state / "venv"
    machine.write({"state/venv/musabi-trainer.json": json.dumps({"flash_attn": flash})})
    machine.write({"state/venv/bin/python": python})
    (venv / "bin" / "python").chmod(0o755)
    line = f"cuda: Optional[str] = {cuda!r}\n"
    machine.write({"state/venv/lib/python3.12/site-packages/torch/version.py": line})
    return venv


def standin_run(machine: Machine, container: str | None = None) -> None:
    """Write the record of a run whose process is this one, in this container where no other is given."""
    folder = new_run_folder(machine.scene().settings.space.runs, "lora")
    place = identity() if container is None else container
    record = RunRecord(id=folder.path.name, state=RunState.RUNNING, job={}, plan={}, container=place)
    record.pid, record.pid_started = own_process()
    folder.save(record)


def names(found: list[Finding]) -> dict[str, str]:
    """Return each finding's state by its name."""
    return {each.name: each.state for each in found}
