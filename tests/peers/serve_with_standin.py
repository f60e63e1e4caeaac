"""`musabi serve` with the stand-in program for the work: `python serve_with_standin.py ROOT [PORT]`.

Prints what the real one prints. The folder ROOT holds the volume and the container's disk.
"""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from musabi.job.facts import MachineFacts
from musabi.serverless.http.server import Options, serve
from musabi.serverless.places import Places
from musabi.serverless.settings import load
from peers.standin_work import COMMAND


def main() -> None:
    """Serve until a signal comes."""
    root = Path(sys.argv[1])
    options = Options(
        settings=load(os.environ),
        places=Places(root / "volume"),
        state_dir=root / "state",
        machine=MachineFacts(gpus=(24 * 1024**3,) * int(os.environ.get("STANDIN_GPUS", "1"))),
        environ=os.environ,
        host="127.0.0.1",
        port=int(sys.argv[2]) if len(sys.argv) > 2 else 0,
        command=COMMAND,
    )
    sys.exit(int(serve(options, lambda text: print(text, flush=True))))


if __name__ == "__main__":
    main()
