"""Small stand-ins for the files of the real repos, under the repos' own names and paths."""

import json
import random

from musabi.hub.weights import wanted_sets
from peers.loopback_hub import LoopbackHub

TOKENIZER = ("tokenizer/tokenizer_config.json", "tokenizer/vocab.json", "tokenizer/merges.txt")


def safetensors(size: int, seed: int) -> bytes:
    """Return a whole safetensors file of one tensor of `size` random bytes."""
    numbers = random.Random(seed)  # noqa: S311 - the same bytes each time, no secret
    header = json.dumps({"x": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    return len(header).to_bytes(8, "little") + header + numbers.randbytes(size)


def add_weights(hub: LoopbackHub, size: int = 300_000) -> dict[str, dict[str, bytes]]:
    """Put all that Z-Image needs on the hub, and files that are not wanted beside it."""
    repos: dict[str, dict[str, bytes]] = {}
    for number, wanted in enumerate(wanted_sets()):
        files = repos.setdefault(
            wanted.repo, {"README.md": b"# model", "other/model.safetensors": b"x" * 999}
        )
        for pattern in wanted.patterns:
            if not pattern.endswith("*"):
                files[pattern] = safetensors(size, number * 10 + len(files))
    repos["Tongyi-MAI/Z-Image"] |= {path: f"{{'of': '{path}'}}".encode() for path in TOKENIZER}
    for repo, files in repos.items():
        hub.add(repo, files)
    return repos
