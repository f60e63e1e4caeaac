"""A stand-in for `python -m musabi.serverless.work`, told by the request's "standin" what to do. It trains nothing.

    seconds: how long it works          tell_s: how often it tells progress     answer: the answer that it gives
    log: what it writes into its log    code: ends with that, without answer   child: starts a process like a trainer
    save_s: how long saving takes       stubborn: does not end when asked to, only by a signal
    once: works long only at the first try       starts: a command that it starts, then it is killed
    held: ends at its first try as where another process is at work on the job

It keeps to the contract of the real one: secrets on standard input, progress.json, stop.json, result.json. With
--say-failed it notes in said.json what the hub was to be told.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

folder = Path(sys.argv[1])


def write(name: str, value: Any) -> None:
    part = folder / f".{name}.part"
    part.write_text(json.dumps(value))
    part.replace(folder / name)


def count_try() -> int:
    file = folder / "phases.json"
    tries = json.loads(file.read_text())["tries"] + 1 if file.exists() else 1
    write("phases.json", {"tries": tries})
    return int(tries)


def main() -> int:
    told = json.loads((folder / "request.json").read_text())["input"].get("standin", {})
    secrets = json.loads(sys.stdin.read() or "{}")
    if "--say-failed" in sys.argv[2:]:
        error = json.loads((folder / "result.json").read_text())["error"]
        write("said.json", {"secrets": sorted(secrets), "error": error})
        return 0
    tries = count_try()
    write("seen.json", {"secrets": sorted(secrets), "environment": sorted(os.environ), "argv": sys.argv[1:]})
    print(told.get("log", "The stand-in begins."), flush=True)
    if told.get("child"):
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    if told.get("held") and tries == 1:
        return 75
    if told.get("starts"):
        subprocess.Popen(told["starts"], start_new_session=True)
        while not (folder / "started").exists():
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGKILL)
    began, number = time.monotonic(), 0
    while time.monotonic() - began < told.get("seconds", 0) and (tries == 1 or not told.get("once")):
        number += 1
        write(
            "progress.json",
            {"phase": "training", "message": f"step {number}", "step": number, "t": time.time()},
        )
        time.sleep(told.get("tell_s", 0.05))
        if (folder / "stop.json").exists() and not told.get("stubborn"):
            return stop(told)
    if "code" in told:
        if told["code"] < 0:
            os.kill(os.getpid(), -told["code"])
        return int(told["code"])
    write("result.json", told.get("answer") or {"status": "success", "tries": tries, "steps": number})
    return 0


def stop(told: dict[str, Any]) -> int:
    time.sleep(told.get("save_s", 0))
    why = json.loads((folder / "stop.json").read_text())["why"]
    write("state.json", {"saved": True, "why": why})
    if why == "shutdown":
        return 130
    write("result.json", {"status": "failed", "error": f"ended: {why}"})
    return 0


if __name__ == "__main__":
    sys.exit(main())
