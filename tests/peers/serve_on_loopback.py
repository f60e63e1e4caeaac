"""`musabi serve` whose jobs see a network of a test's own: `python serve_on_loopback.py ROOT`.

The work is the real one. See work_on_loopback.py for MUSABI_TEST_HOSTS.
"""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from musabi.job.facts import MachineFacts
from musabi.serverless.http.server import Options, serve
from musabi.serverless.places import Places
from musabi.serverless.settings import load

WORK = Path(__file__).with_name("work_on_loopback.py")


def main() -> None:
    """Serve until a signal comes."""
    root = Path(sys.argv[1])
    options = Options(
        settings=load(os.environ),
        places=Places(root / "endpoint"),
        state_dir=root / "state",
        machine=MachineFacts(),
        environ=os.environ,
        host="127.0.0.1",
        port=0,
        command=(sys.executable, str(WORK)),
    )
    sys.exit(int(serve(options, lambda text: print(text, flush=True))))


if __name__ == "__main__":
    main()
