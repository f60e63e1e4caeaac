"""The container's environment for login shells: an SSH session starts from nothing, but must find HF_TOKEN.

No value is ever evaluated: each stands in POSIX single quotes, between which a shell interprets nothing, line
breaks included. The values lie in a 0600 file; what everybody may read only names that file:

- etc/profile.d/musabi.sh: login shells (dash and bash) read the file and go to the workspace, where they start
  in the home folder;
- etc/bash.bashrc: bash that is no login shell reads the file, also for a command given to ssh.

A shell that came by the environment already (a shell within a shell, a Jupyter terminal) keeps what was changed
in it since: only PATH is set again, which /etc/profile overwrites.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from musabi.pod.places import PodPlaces
from musabi.whole import write_text

STAMP = "MUSABI_ENVIRONMENT"
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# What a session has of its own, and what a shell evaluates, refuses to have set, or changes its ways by.
OF_THE_SESSION = (
    "PWD",
    "OLDPWD",
    "SHLVL",
    "_",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "TERM",
    "MAIL",
    "HOSTNAME",
)
EVALUATED = ("PS0", "PS1", "PS2", "PS3", "PS4", "PROMPT_COMMAND", "ENV", "BASH_ENV")
OF_THE_SHELL = (
    *("IFS", "CDPATH", "COLUMNS", "LINES", "OPTIND", "OPTARG", "UID", "EUID", "PPID", "GROUPS", "SHELLOPTS"),
    *(
        "BASHOPTS",
        "BASHPID",
        "BASH_VERSINFO",
        "FUNCNAME",
        "DIRSTACK",
        "RANDOM",
        "SECONDS",
        "LINENO",
        "HISTCMD",
    ),
)
# Nobody needs these there; `musabi url` reads the token's file.
OF_JUPYTER = ("JUPYTER_TOKEN", "JUPYTER_PASSWORD", "JUPYTER_TOKEN_FILE")
NOT_PASSED = frozenset((*OF_THE_SESSION, *EVALUATED, *OF_THE_SHELL, *OF_JUPYTER))


def quoted(value: str) -> str:
    """Return a value as a POSIX shell reads it back, whatever it holds."""
    return "'" + value.replace("'", "'\\''") + "'"


def environment_text(environ: Mapping[str, str], stamp: str) -> str:
    """Return the file that login shells read. `stamp` tells one boot's environment from another's."""
    passed = {n: v for n, v in environ.items() if NAME.fullmatch(n) and n not in NOT_PASSED | {"PATH", STAMP}}
    lines = [f"export {name}={quoted(value)}" for name, value in sorted(passed.items())]
    path = [f"export PATH={quoted(environ['PATH'])}"] if environ.get("PATH") else []
    guard = f'if [ "${{{STAMP}-}}" != {quoted(stamp)} ]; then'
    return "\n".join([*path, guard, f"export {STAMP}={quoted(stamp)}", *lines, "fi", ""])


def profile_text(environment: Path, workspace: Path) -> str:
    """Return etc/profile.d/musabi.sh."""
    file, root = quoted(str(environment)), quoted(str(workspace))
    return (
        "# Written by musabi at each start of the pod.\n"
        f"if [ -r {file} ]; then . {file}; fi\n"
        f'if [ "$PWD" = "${{HOME-}}" ] && [ -d {root} ]; then cd {root} || :; fi\n'
    )


def with_first_line(text: str, line: str, mark: str) -> str:
    """Return a text that has `line` as its first, in place of a line that ends in `mark`."""
    others = [old for old in text.splitlines() if not old.endswith(mark)]
    return "\n".join([line, *others, ""])


def write_login(places: PodPlaces, environ: Mapping[str, str], workspace: Path, stamp: str) -> None:
    """Write the files.

    Raises:
        OSError: one can't be written.
    """
    # surrogateescape: what is no UTF-8 in the environment leaves as the bytes it came as.
    data = os.fsencode(environment_text(environ, stamp))
    _write_bytes(places.environment, data, 0o600)
    write_text(
        places.etc / "profile.d" / "musabi.sh", profile_text(places.environment, workspace), sync=False
    )
    bashrc, mark = places.etc / "bash.bashrc", "# musabi"
    file = quoted(str(places.environment))
    old = bashrc.read_text(encoding="utf-8", errors="surrogateescape") if bashrc.exists() else ""
    new = with_first_line(old, f"if [ -r {file} ]; then . {file}; fi {mark}", mark)
    if new != old:
        _write_bytes(bashrc, new.encode("utf-8", "surrogateescape"), 0o644)


def _write_bytes(path: Path, data: bytes, mode: int) -> None:
    from musabi.whole import replacing

    with replacing(path, mode, sync=False) as part:
        part.write_bytes(data)
