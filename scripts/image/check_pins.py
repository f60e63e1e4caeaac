"""Build step: fail where an environment imports another version than the one pinned: check_pins.py PYTHON PIN...

PYTHON is the environment's interpreter, a PIN is NAME==VERSION. Each package is imported, since what is
installed and what is imported can differ; a build such as `+cu128` counts as its version. Needs the standard
library only.
"""

import subprocess
import sys


def imported_version(python: str, name: str) -> str | None:
    """Return the version of a package as it imports in an environment, or None where it does not import."""
    code = f"import {name}; print({name}.__version__)"
    done = subprocess.run([python, "-I", "-c", code], stdout=subprocess.PIPE, text=True)
    return done.stdout.strip().splitlines()[-1] if done.returncode == 0 else None


def main(python: str, *pins: str) -> int:
    """Compare and say what differs; return the exit code."""
    drifted = False
    for pin in pins:
        name, _, version = pin.partition("==")
        found = imported_version(python, name)
        if found is None or version not in (found, found.partition("+")[0]):
            drifted = True
            print(f"Error: {name} is pinned to {version}, but {found or 'nothing'} imports.", file=sys.stderr)
    return int(drifted)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
