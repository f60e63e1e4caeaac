"""Which cache files a dataset needs, and which of those that are there were made from what it is now.

Beside the files lies a stamp for each kind, `.musabi-latents.json` and `.musabi-text.json`: it maps file
names to a fingerprint of everything they are made from. It is written after stale files were removed and
before caching starts, so every whole file found afterwards was made from what the stamp says.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from musabi import whole
from musabi.dataset.candidates import files_in
from musabi.dataset.config import ImageDataset
from musabi.dataset.extensions import IMAGE_EXTENSIONS, VIDEO_EXTENSIONS
from musabi.dataset.identity import Memory, content_hash, models_identity, sampled_hash
from musabi.dataset.items import Item, Scan
from musabi.job.facts import CacheFacts

Kind = Literal["latents", "text"]
MEMORY_NAME = ".musabi-seen.json"
FORMAT = 1


@dataclass(frozen=True)
class CacheInputs:
    """What every file of one kind is made with besides its item: engine, weights, options that matter."""

    engine: str
    weights: tuple[Path, ...]
    options: tuple[str, ...] = ()


def latents_file(item: Item, dataset: ImageDataset) -> Path:
    """Return the place of an image's cached latents; the name has the stored image's size in pixels."""
    return dataset.cache_directory / f"{item.key}_{_size(item.width, item.height)}_{_ending(dataset)}"


def latents_files(item: Item, dataset: ImageDataset) -> tuple[Path, ...]:
    """Return the places of all of the item's cached latents: one of an image, one of each clip of a video.

    Names of clips have the first frame, the frames and the bucket's size; FramePack's sections are numbered.
    """
    if item.medium == "image":
        return (latents_file(item, dataset),)
    rest = f"{_size(*item.bucket)}_{_ending(dataset)}"
    return tuple(
        dataset.cache_directory / f"{item.key}_{clip.start:05d}-{clip.frames:03d}{number}_{rest}"
        for clip in item.clips
        for number in _numbers(clip.frames, dataset)
    )


def _numbers(frames: int, dataset: ImageDataset) -> tuple[str, ...]:
    """Return what the names of a clip's files have after its frames."""
    if dataset.window is None:
        return ("",)
    return tuple(f"-{number:04d}" for number in range(dataset.sections(frames)))


def text_file(item: Item, dataset: ImageDataset) -> Path:
    """Return the place of the item's cached caption embedding."""
    return dataset.cache_directory / f"{item.key}_{dataset.architecture}_te.safetensors"


def _size(width: int, height: int) -> str:
    return f"{width:04d}x{height:04d}"


def _ending(dataset: ImageDataset) -> str:
    return f"{dataset.architecture}.safetensors"


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
    """Map each expected cache file to what its item gives it: pixels, frames and bucket, or caption."""
    of_item = _KINDS[kind].identities
    return {
        path: identity
        for item in scan.items
        for path, identity in of_item(item, scan.dataset, memory).items()
    }


def _dataset_state(kind: Kind, scan: Scan, inputs: CacheInputs, memory: Memory) -> CacheFacts:
    stamp_path = stamp_file(scan.dataset, kind)
    stamp = _read_stamp(stamp_path)
    # Weights that were removed after caching leave the caches as good as they were.
    model = models_identity(inputs.weights, memory) or str(stamp.get("model", ""))
    wanted = {
        path.name: _fingerprint(inputs.engine, model, inputs.options, identity)
        for path, identity in item_identities(kind, scan, memory).items()
    }
    folder = scan.dataset.cache_directory
    made = stamp["files"]
    there = {
        path.name
        for path in folder.glob(_KINDS[kind].pattern.format(scan.dataset.architecture))
        if not path.name.startswith(".")
    }
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


def _latents_identities(item: Item, dataset: ImageDataset, memory: Memory) -> dict[Path, str]:
    """Return what each of the item's latents files is made of, besides the frames that its name tells."""
    more: list[object] = [_content(path, memory) for path in (*item.controls, *item.layers)]
    if item.controls:
        more += [item.control_sizes]
    if dataset.one_frame is not None:
        more += [asdict(dataset.one_frame)]
    if dataset.video is not None:
        more += [dataset.video.source_fps and (dataset.video.source_fps, dataset.video.target_fps)]
        more += [dataset.window]
    made_of = _fingerprint(_content(item.image, memory), item.bucket, *more)
    return dict.fromkeys(latents_files(item, dataset), made_of)


def _text_identities(item: Item, dataset: ImageDataset, memory: Memory) -> dict[Path, str]:
    """Return what the item's text file is made of: some models' text encoders see the control images too."""
    more: list[object] = []
    if item.controls and item.medium == "image":
        more = [[_content(path, memory) for path in item.controls], item.control_sizes]
    return {text_file(item, dataset): _fingerprint(item.caption, *more)}


def _content(path: Path, memory: Memory) -> object:
    """Return what an image, a video or a folder of frames is."""
    if path.suffix in VIDEO_EXTENSIONS and path.is_file():
        return memory.recall(path, sampled_hash)
    if path.is_dir():
        return [
            (frame.name, memory.recall(frame, content_hash)) for frame in files_in(path, IMAGE_EXTENSIONS)
        ]
    return memory.recall(path, content_hash)


@dataclass(frozen=True)
class _KindOfCache:
    """How one kind's files are found ({}: the model's name in them), and what an item gives each of its own."""

    pattern: str
    identities: Callable[[Item, ImageDataset, Memory], dict[Path, str]]


_KINDS: Mapping[Kind, _KindOfCache] = {
    "latents": _KindOfCache("*_{}.safetensors", _latents_identities),
    "text": _KindOfCache("*_{}_te.safetensors", _text_identities),
}
