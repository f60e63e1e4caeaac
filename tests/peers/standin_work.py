"""A stand-in for `python -m musabi.serverless.work JOB_FOLDER`: it trains nothing.

It speaks the same contract: secrets as JSON on standard input, progress.json and result.json replaced atomically,
stop.json and SIGTERM end it, started again it goes on. What it does stands in the request's trigger word, as
`steps=3 each=0.05 crash=1`:

    steps=N each=S   N steps of S seconds, each told in progress.json and remembered in phases.json
    fail             answers "failed"
    crash=N          its first N attempts end at their second step with exit code 1 and no answer
    deaf             takes no notice of stop.json and SIGTERM
    child            starts a process in a session of its own, as a trainer has, that outlives it
    save=S           takes S seconds to save when it is asked to end

With --say-failed it notes in said.json what the hub was to be told. standin.json in the folder holds, for each
attempt, what it was given and from which step it went on.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

COMMAND = (sys.executable, "-I", "-S", str(Path(__file__)))


def main() -> int:
    """Do the job of the folder on the command line."""
    folder = Path(sys.argv[1])
    secrets = json.loads(sys.stdin.buffer.read() or b"{}")
    if "--say-failed" in sys.argv[2:]:
        write(folder / "said.json", {"secrets": secrets, "error": read(folder / "result.json")["error"]})
        return 0
    asked = read(folder / "request.json")
    orders = orders_in(asked["input"]["dataset"].get("trigger_word", ""))
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: stopped.append(number))
    done = int(read(folder / "phases.json").get("step", 0))
    attempts = read(folder / "standin.json").get("attempts", [])
    attempts.append(
        {
            "pid": os.getpid(),
            "secrets": secrets,
            "from": done,
            "gpu": os.environ.get("CUDA_VISIBLE_DEVICES"),
            "environment": sorted(os.environ),
            "t": time.time(),
        }
    )
    write(folder / "standin.json", {"attempts": attempts})
    if "child" in orders:
        child = subprocess.Popen(["sleep", "60"], start_new_session=True)
        write(folder / "child.json", {"pid": child.pid})
    steps = int(orders.get("steps", 1))
    for step in range(done + 1, steps + 1):
        time.sleep(float(orders.get("each", 0)))
        why = (
            (read(folder / "stop.json").get("why") or ("shutdown" if stopped else None))
            if "deaf" not in orders
            else None
        )
        if why:
            return end(folder, str(why), float(orders.get("save", 0)))
        progress = {
            "phase": "training",
            "message": f"Training epoch {step} of {steps}...",
            "step": step,
            "steps": steps,
        }
        write(folder / "progress.json", progress | {"t": time.time()})
        write(folder / "phases.json", {"step": step})
        if step >= done + 2 and len(attempts) <= int(orders.get("crash", 0)):
            os._exit(1)
    if "fail" in orders:
        write(folder / "result.json", {"status": "failed", "error": "The stand-in was told to fail."})
    else:
        write(
            folder / "result.json",
            {"status": "success", "job_id": asked["id"], "output": {"download_url": None}},
        )
    return 0


def end(folder: Path, why: str, save_s: float) -> int:
    """Save, and answer unless somebody goes on."""
    time.sleep(save_s)
    if why == "shutdown":
        return 130
    write(folder / "result.json", {"status": "failed", "error": f"The stand-in was asked to end: {why}."})
    return 0


def orders_in(text: str) -> dict[str, str]:
    """Return the orders of a trigger word."""
    return {name: value for name, _, value in (word.partition("=") for word in text.split())}


def read(path: Path) -> dict[str, Any]:
    """Return the object in a file, {} where there is none."""
    try:
        value = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    return value if isinstance(value, dict) else {}


def write(path: Path, value: Any) -> None:
    """Replace a file."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.write_text(json.dumps(value))
    part.replace(path)


if __name__ == "__main__":
    sys.exit(main())
