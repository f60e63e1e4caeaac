"""How long the demo takes: in a fresh clone, and a second time. Run: python bench/demo.py [--keep FOLDER]

Prints wall seconds of the set-up (downloads), of the first run without them, and of the second run.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]


def timed(argv: list[str], folder: Path) -> tuple[float, str]:
    """Run a command; return its wall seconds and its output."""
    begun = time.monotonic()
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{argv} failed:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    return time.monotonic() - begun, done.stdout


def main() -> None:
    """Clone, set up, run the demo twice, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", type=Path, help="clone into this folder and leave it there")
    folder = parser.parse_args().keep or Path(tempfile.mkdtemp(prefix="musabi-demo-"))
    clone = folder / "clone"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    setup, _ = timed(["scripts/setup.sh", "diffusers"], clone)
    first, output = timed(["./demo.sh"], clone)
    second, _ = timed(["./demo.sh"], clone)
    losses = re.findall(r"loss on fixed noise: ([\d.]+)", output)
    print(f"set-up with downloads: {setup:.0f} s")
    print(f"first run: {first:.0f} s, second run: {second:.0f} s ({second / first:.2f} of it)")
    print(f"loss on fixed noise: {losses[0]} at the start, {losses[-1]} at the end")
    if parser.parse_args().keep is None:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
