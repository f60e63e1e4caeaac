"""Starts the real Runpod worker, SDK and all, with the stand-in for the process that does a job.

Arguments: seconds between progress posts, seconds that a trainer may take to save its state.
"""

import os
import sys
from pathlib import Path

from musabi.serverless.worker.runpod_worker import serve

STANDIN = Path(__file__).with_name("standin_work_for_worker.py")

if __name__ == "__main__":
    serve(
        os.environ,
        command=(sys.executable, str(STANDIN)),
        every_s=float(sys.argv[1]),
        patience_s=float(sys.argv[2]),
    )
