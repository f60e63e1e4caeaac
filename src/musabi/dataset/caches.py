"""Which cache files a dataset needs, and which of those that are there were made from what it is now.

Beside the files lies a stamp for each kind, `.musabi-latents.json` and `.musabi-text.json`: it maps file
names to a fingerprint of everything they are made from. It is written after stale files were removed and
before caching starts, so every whole file found afterwards was made from what the stamp says.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from musabi import whole
from musabi.dataset.config import ImageDataset
from musabi.dataset.identity import Memory, content_hash, model_identity
from musabi.dataset.items import Item, Scan
from musabi.job.facts import CacheFacts

Kind = Literal["latents", "text"]
ARCHITECTURE = "zi"
"""Z-Image in cache file names (musubi-tuner v0.3.4, dataset/architectures.py)."""
MEMORY_NAME = ".musabi-seen.json"
FORMAT = 1


@dataclass(frozen=True)
class CacheInputs:
    """What every file of one kind is made with besides its item: engine, weights, options that matter."""

    engine: str
    weights: Path
    options: tuple[str, ...] = ()


def latents_file(item: Item, dataset: ImageDataset) -> Path:
    """Return the place of the item's cached latents; the name has the stored image's size in pixels."""
    return (
        dataset.cache_directory / f"{item.key}_{item.width:04d}x{item.height:04d}_{ARCHITECTURE}.safetensors"
    )


def text_file(item: Item, dataset: ImageDataset) -> Path:
    """Return the place of the item's cached caption embedding."""
    return dataset.cache_directory / f"{item.key}_{ARCHITECTURE}_te.safetensors"


def stamp_file(dataset: ImageDataset, kind: Kind) -> Path:
    return dataset.cache_directory / f".musabi-{kind}.json"


def open_memory(dataset: ImageDataset) -> Memory:
    """Return what is remembered of the dataset's images and models, from its cache folder."""
    return Memory(dataset.cache_directory / MEMORY_NAME)


def cache_facts(
    kind: Kind, scans: tuple[Scan, ...], inputs: CacheInputs, memories: tuple[Memory, ...]
) -> CacheFacts:
    """Return the state of one kind of cache over all datasets; `memories` has one for each scan."""
    states = [
        _dataset_state(kind, scan, inputs, memory) for scan, memory in zip(scans, memories, strict=True)
    ]
    return CacheFacts(
        expected=sum(state.expected for state in states),
        missing=sum(state.missing for state in states),
        stale=tuple(path for state in states for path in state.stale),
        stamp=tuple(entry for state in states for entry in state.stamp),
    )


def item_identities(kind: Kind, scan: Scan, memory: Memory) -> dict[Path, str]:
    """Map each expected cache file to what its item gives it: pixels and bucket, or caption."""
    name = _KINDS[kind].name
    identity = _KINDS[kind].identity
    return {name(item, scan.dataset): identity(item, memory) for item in scan.items}


def _dataset_state(kind: Kind, scan: Scan, inputs: CacheInputs, memory: Memory) -> CacheFacts:
    stamp_path = stamp_file(scan.dataset, kind)
    stamp = _read_stamp(stamp_path)
    # Weights that were removed after caching leave the caches as good as they were.
    model = model_identity(inputs.weights, memory) or str(stamp.get("model", ""))
    wanted = {
        path.name: _fingerprint(inputs.engine, model, inputs.options, identity)
        for path, identity in item_identities(kind, scan, memory).items()
    }
    folder = scan.dataset.cache_directory
    made = stamp["files"]
    there = {path.name for path in folder.glob(_KINDS[kind].pattern) if not path.name.startswith(".")}
    fresh = {
        name
        for name in there & wanted.keys()
        if made.get(name) == wanted[name] and whole.is_whole_safetensors(folder / name)
    }
    text = (
        json.dumps({"format": FORMAT, "model": model, "files": wanted}, indent=1, ensure_ascii=False) + "\n"
    )
    return CacheFacts(
        expected=len(wanted),
        missing=len(wanted.keys() - there),
        stale=tuple(folder / name for name in sorted(there - fresh)),
        stamp=((stamp_path, text),),
    )


def _read_stamp(path: Path) -> dict[str, Any]:
    stamp = whole.read_json(path)
    if isinstance(stamp, dict) and stamp.get("format") == FORMAT and isinstance(stamp.get("files"), dict):
        return stamp
    return {"files": {}}


def _fingerprint(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, ensure_ascii=False).encode()).hexdigest()


def _pixels_identity(item: Item, memory: Memory) -> str:
    return _fingerprint(memory.recall(item.image, content_hash), item.bucket)


def _caption_identity(item: Item, memory: Memory) -> str:
    return _fingerprint(item.caption)


@dataclass(frozen=True)
class _KindOfCache:
    """How one kind's files are named and found, and what an item gives them."""

    name: Callable[[Item, ImageDataset], Path]
    pattern: str
    identity: Callable[[Item, Memory], str]


_KINDS: Mapping[Kind, _KindOfCache] = {
    "latents": _KindOfCache(latents_file, f"*_{ARCHITECTURE}.safetensors", _pixels_identity),
    "text": _KindOfCache(text_file, f"*_{ARCHITECTURE}_te.safetensors", _caption_identity),
}
