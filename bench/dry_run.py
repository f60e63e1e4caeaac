"""How soon the plan is printed: `musabi train --dry-run`, median of several runs.

Run in a workspace that is ready to train: python bench/dry_run.py [RUNS]. Uses the environment's settings.
"""

import statistics
import subprocess
import sys
import time
from pathlib import Path

PROGRAM = Path(sys.executable).parent / "musabi"


def main() -> None:
    """Print the median, the fastest and the slowest start in seconds."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 9
    seconds = []
    for _ in range(runs + 1):
        begun = time.monotonic()
        subprocess.run([PROGRAM, "train", "--dry-run"], check=True, stdout=subprocess.DEVNULL)
        seconds.append(time.monotonic() - begun)
    warm = seconds[1:]
    spread = f"{min(warm):.2f} to {max(warm):.2f} s"
    print(f"dry run: median {statistics.median(warm):.2f} s, {spread}, {runs} runs")


if __name__ == "__main__":
    main()
