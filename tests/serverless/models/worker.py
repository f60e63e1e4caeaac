"""A worker of an endpoint, as a process of its own: brings sdxl to the volume and prints where it lies.

    python -m serverless.models.worker VOLUME HUB [SIZE]

With SIZE there is an old model of so many bytes, and the disk says it has all the room in the world.
"""

import sys
from pathlib import Path

from peers.loopback_hub import LoopbackHub
from serverless.models.conftest import Bench


class There(LoopbackHub):
    """A hub that another process serves."""

    def __init__(self, url: str) -> None:
        self.url = url


if __name__ == "__main__":
    bench = Bench(Path(sys.argv[1]), There(sys.argv[2]))
    if sys.argv[3:]:
        bench.put_model("old", int(sys.argv[3]), used=100)
        where = bench.bring("sdxl", free=lambda _folder: 10**15)
    else:
        where = bench.bring("sdxl")
    print(*bench.said, sep="\n")
    print("here:", where["checkpoint_path"])
