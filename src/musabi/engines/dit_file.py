"""How many values a LoRA holds, read from the headers of the DiT's own files."""

import re
from pathlib import Path

from musabi.whole import safetensors_header, shards

# Z-Image's LoRA covers the main layers' attention and feed-forward Linears (musubi-tuner's lora_zimage).
_TARGET = re.compile(r"(?:^|\.)layers\.\d+\.(?:attention|feed_forward)\.[\w.]+\.weight$")


def lora_parameters(dit: Path, rank: int) -> int:
    """Return rank x (inputs + outputs), summed over the Linears that the LoRA covers; 0 if unreadable.

    `dit` is the DiT's file or the first shard of it; all shards beside it are read (headers only).
    """
    total = 0
    for shard in shards(dit):
        header = safetensors_header(shard)
        for name, entry in header[1].items() if header else ():
            if _TARGET.search(name) and len(entry["shape"]) == 2:
                total += sum(entry["shape"])
    return total * rank
