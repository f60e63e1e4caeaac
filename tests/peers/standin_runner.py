"""A stand-in for the runner of a training: `python standin_runner.py JOB_FOLDER`. It trains nothing.

Its run is one that goes on. Asked by stop.json it takes a moment to save, and says so in JOB_FOLDER/saved; a signal
ends it at once, without.
"""

import json
import os
import sys
import time
from pathlib import Path

SAVE_SECONDS = 0.8
MOST_SECONDS = 60.0


def main() -> None:
    """Run until asked to stop."""
    folder = Path(sys.argv[1])
    run = folder / "workspace" / "runs" / "lora-1"
    run.mkdir(parents=True)
    started = float(Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()[19])
    about = {"id": "lora-1", "container": "", "job": {}, "plan": {}, "versions": {}, "steps": []}
    about |= {"pid": os.getpid(), "pid_started": started}
    (run / "record.json").write_text(json.dumps(about | {"state": "running"}))
    (folder / "started").touch()
    deadline = time.monotonic() + MOST_SECONDS
    while not (run / "stop.json").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(SAVE_SECONDS)
    (folder / "saved").touch()
    (run / "record.json").write_text(json.dumps(about | {"state": "stopped"}))


if __name__ == "__main__":
    main()
