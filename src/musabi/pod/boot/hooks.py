"""The pod owner's own scripts, as on Runpod's images: /pre_start.sh before everything, /post_start.sh at the end.

bash runs them as they are; they need not be executable. One that fails is reported and nothing else. The
container's log gets their first lines, their own log file all.
"""

from collections.abc import Mapping
from pathlib import Path

from musabi.pod.boot.supervisor import Service

PRE_START = Path("/pre_start.sh")
POST_START = Path("/post_start.sh")
SLOW_SECONDS = 30.0
SHOWN_LINES = 100
SLOW_WORDS = "It has run for 30 s. JupyterLab starts when it has ended."


def hook(script: Path, environment: Mapping[str, str]) -> Service | None:
    """Return a hook as a service that runs once, or None where there is no such script."""
    if not script.is_file():
        return None
    argv = ("/bin/bash", str(script))
    return Service(script.stem, argv, environment, Path("/"), restart=False, most_lines=SHOWN_LINES)
