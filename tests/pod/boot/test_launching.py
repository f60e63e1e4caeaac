"""A process that can't be started now is started later, and who waits for its end waits for that too."""

import subprocess
import sys
from pathlib import Path

# No pipe can be made while the limit on open files is reached; it is lifted when that was said.
SCRIPT = """
import os, resource, sys, time
from pathlib import Path
from musabi.pod.boot.supervisor import Service, Supervisor
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
said = []
def say(name, text):
    said.append(text)
    if "could not be started" in text:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
supervisor = Supervisor(say, Path(sys.argv[1]), [])
service = Service("hook", ("/bin/sh", "-c", "echo here; exit 3"), dict(os.environ), restart=False)
lowest = os.dup(0)
os.close(lowest)
resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
standing = supervisor.run(service)
print(standing.state, standing.code, standing.restarts, standing.pid, said)
"""


def test_a_hook_that_could_not_be_started_is_waited_for(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=True)
    said = ["It could not be started: Too many open files.", "here", "It failed (exit code 3)."]
    assert done.stdout.strip() == f"failed 3 1 None {said}"
