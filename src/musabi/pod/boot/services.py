"""The processes of a pod, as rows: what each runs, with which environment, and whether it must not end.

| name | runs | restarted | its lines on the container's log |
|---|---|---|---|
| pre_start | /pre_start.sh | | the first 100 |
| sshd | the SSH server, where a key is set | yes | none |
| jupyter | JupyterLab | yes | warnings |
| settings | the check of all variables | | none |
| report | `musabi doctor --boot` | | the first 100 |
| bootstrap | `musabi bootstrap` | | all |
| tensorboard | `musabi tensorboard`, where AUTO_START_TENSORBOARD is 1 | yes | none |
| guard | `musabi pod guard`, where MAX_HOURS, IDLE_MINUTES, ON_FINISH or ON_ERROR is set | yes | all |
| post_start | /post_start.sh | | the first 100 |

Each keeps a log in `PodPlaces.logs`. The bootstrap and the report step back (nice) for what a person waits for.
"""

import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from musabi.errors import ExitCode
from musabi.pod.boot import jupyter, ssh
from musabi.pod.boot.supervisor import Service, how_ended
from musabi.pod.places import PodPlaces

# JupyterLab's start and the report share the cores with the bootstrap; see bench/boot.py.
BACKGROUND_NICE = 10
REPORT_LINES = 100
# A wrong request stays wrong, however often it is made.
WRONG_REQUEST = frozenset({int(ExitCode.WRONG_REQUEST)})


def musabi(*arguments: str) -> tuple[str, ...]:
    """Return the command line of one of our own verbs, run by this very interpreter.

    -P: the working folder is the workspace, and a file in it must not stand in for a module of Python's.
    """
    return (sys.executable, "-P", "-m", "musabi", *arguments)


def jupyter_service(environ: Mapping[str, str], places: PodPlaces, root: Path) -> Service:
    environment = jupyter.environment(environ, places)
    return Service("jupyter", jupyter.command(), environment, root, shows=jupyter.is_warning)


def settings_service(environ: Mapping[str, str]) -> Service:
    argv = (sys.executable, "-P", "-m", "musabi.pod.boot.settings_check")
    return Service("settings", argv, environ, restart=False, shows=_nothing)


def report_service(environ: Mapping[str, str]) -> Service:
    argv = musabi("doctor", "--boot")
    return Service(
        "report",
        argv,
        environ,
        restart=False,
        nice=BACKGROUND_NICE,
        most_lines=REPORT_LINES,
        farewell=_silence,
    )


def bootstrap_service(environ: Mapping[str, str], *, nice: int = BACKGROUND_NICE) -> Service:
    """The bootstrap; SIGINT is what lets it write down that it was interrupted."""
    return Service(
        "bootstrap",
        musabi("bootstrap"),
        environ,
        restart=False,
        nice=nice,
        end_with=signal.SIGINT,
        farewell=bootstrap_words,
    )


def bootstrap_words(code: int) -> str:
    """Return what is said when the bootstrap has ended."""
    if code == 0:
        return "Done."
    return f"It failed ({how_ended(code)}). JupyterLab stays up. Mend what it named and run: musabi bootstrap"


def tensorboard_service(environ: Mapping[str, str]) -> Service:
    return Service("tensorboard", musabi("tensorboard"), environ, shows=_nothing)


def guard_service(environ: Mapping[str, str]) -> Service:
    """The guard; exit code 0 means that there is nothing left to guard."""
    return Service("guard", musabi("pod", "guard"), environ, final=WRONG_REQUEST | {0})


def keygen_service(environ: Mapping[str, str], places: PodPlaces) -> Service:
    return Service("sshd", ssh.keygen_command(places), environ, restart=False, keeps_log=False)


def sshd_service(environ: Mapping[str, str], places: PodPlaces, server: Path) -> Service:
    """The SSH server; its own environment holds nothing but PATH."""
    bare = {name: environ[name] for name in ("PATH", "LANG") if name in environ}
    return Service("sshd", ssh.server_command(server, places), bare, shows=_nothing)


def _nothing(_line: str) -> bool:
    return False


def _silence(_code: int) -> None:
    """The report's exit code says what it found, which its lines have said."""
