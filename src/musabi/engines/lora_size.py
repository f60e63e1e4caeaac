"""How many values a LoRA holds, read from the headers of the DiT's own files."""

import re
from pathlib import Path

from musabi.whole import safetensors_header

# Z-Image's LoRA covers the main layers' attention and feed-forward Linears (musubi-tuner's lora_zimage).
_TARGET = re.compile(r"(?:^|\.)layers\.\d+\.(?:attention|feed_forward)\.[\w.]+\.weight$")
_SHARD = re.compile(r"-\d{5}-of-\d{5}\.safetensors$")


def lora_parameters(dit: Path, rank: int) -> int:
    """Return rank x (inputs + outputs), summed over the Linears that the LoRA covers; 0 if unreadable.

    `dit` is the DiT's file or the first shard of it; all shards beside it are read (headers only).
    """
    stem = _SHARD.sub("", dit.name)
    shards = dit.parent.glob(f"{stem}-*-of-*.safetensors") if _SHARD.search(dit.name) else [dit]
    total = 0
    for shard in shards:
        header = safetensors_header(shard)
        for name, entry in header[1].items() if header else ():
            if _TARGET.search(name) and len(entry["shape"]) == 2:
                total += sum(entry["shape"])
    return total * rank
