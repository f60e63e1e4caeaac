"""What the headers of the DiT's own files say: its number format, and how many values a LoRA on it has."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from musabi.whole import safetensors_header, shards


def lora_parameters(dit: Path, modules: tuple[str, ...], rank: int) -> int:
    """Return rank x (inputs + outputs), summed over the Linears that the LoRA covers; 0 if unreadable.

    `dit` is the DiT's file or the first shard of it; all shards beside it are read (headers only). `modules`
    are the layers' dotted names, with # for a number.
    """
    names = "|".join(re.escape(module).replace(r"\#", r"\d+") for module in modules)
    target = re.compile(rf"(?:^|\.)(?:{names})\.weight$")
    sizes = (entry["shape"] for name, entry in _tensors(dit) if target.search(name))
    return rank * sum(sum(shape) for shape in sizes if len(shape) == 2)


def dit_dtype(dit: Path) -> str:
    """Return the number format that most values of the DiT have ("BF16", "F16", "F8_E4M3", ...), "" if unreadable."""
    counts: Counter[str] = Counter()
    for _, entry in _tensors(dit):
        counts[entry["dtype"]] += entry["data_offsets"][1] - entry["data_offsets"][0]
    return counts.most_common(1)[0][0] if counts else ""


def _tensors(dit: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for shard in shards(dit):
        header = safetensors_header(shard)
        for name, entry in header[1].items() if header else ():
            if name != "__metadata__":
                yield name, entry
