"""Weights that are there already: where a set may lie on the volume, and whether its files are whole.

Nothing here asks the hub. A file counts as whole by what it says of its own length (safetensors: the header; PyTorch:
the directory at the end of the zip) and by the shards that its name or an index counts. The places:

    VOLUME/huggingface-cache/hub                  Runpod's cached models: refs/main -> snapshots/COMMIT
    VOLUME/diffusion_pipe_working_folder/models   what the original endpoint fetched
    VOLUME/models                                 a pod's workspace on the same volume
"""

import json
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from musabi.serverless.models.sources import FileSet
from musabi.whole import is_whole_safetensors, read_json, shards

ORIGINAL = "diffusion_pipe_working_folder/models"
ORIGINAL_FOLDERS = {
    "black-forest-labs/FLUX.1-dev": ("flux",),
    "timoshishi/sdXL_v10VAEFix": ("sdXL_v10VAEFix.safetensors", "."),
    "Wan-AI/Wan2.1-T2V-1.3B": ("Wan/Wan2.1-T2V-1.3B",),
    "Wan-AI/Wan2.1-T2V-14B": ("Wan/Wan2.1-T2V-14B",),
    "Wan-AI/Wan2.1-I2V-14B-480P": ("Wan/Wan2.1-I2V-14B-480P",),
    "Qwen/Qwen-Image": ("Qwen-Image",),
    "Comfy-Org/z_image_turbo": ("z_image",),
    "ostris/zimage_turbo_training_adapter": ("z_image",),
}
"""Where the original endpoint put each repo; it made a folder of the name of sdxl's file."""
RUNPOD_CACHE = "huggingface-cache/hub"
"""Where Runpod puts the models that an endpoint names as cached, on the volume."""


@dataclass(frozen=True)
class Spot:
    """A folder that may hold a repo's files. `flat`: by their bare names, without the repo's own folders."""

    folder: Path
    flat: bool = False

    def place(self, path: str) -> Path:
        """Return where the repo's file (or glob) `path` would lie."""
        return self.folder / (PurePosixPath(path).name if self.flat else path)


def in_runpods_cache(one: FileSet, volume: Path) -> Path | None:
    """Return what a trainer is given of a set that lies whole in Runpod's cache."""
    return _first(one, lambda repo: cached(volume / RUNPOD_CACHE, repo, one.wanted.revision))


def elsewhere(one: FileSet, volume: Path) -> Path | None:
    """Return what a trainer is given of a set that lies whole in the original's folder, or in a pod's workspace."""
    if (given := _first(one, lambda repo: original(volume, repo))) is not None:
        return given
    return None if one.tree else whole_at(one, one.must, Spot(volume / "models" / one.unit, flat=True))


def _first(one: FileSet, spots: Callable[[str], Iterator[Spot]]) -> Path | None:
    """Return the set, else its kin, where one lies whole at the spots of its repo."""
    for repo, must in ((one.wanted.repo, one.must), *((kin.repo, kin.files) for kin in one.kin)):
        for spot in spots(repo):
            if given := whole_at(one, must, spot):
                return given
    return None


def original(volume: Path, repo: str) -> Iterator[Spot]:
    """Yield where the original endpoint put a repo's files."""
    for name in ORIGINAL_FOLDERS.get(repo, ()):
        folder = volume / ORIGINAL / name
        yield Spot(folder)
        yield Spot(folder, flat=True)


def cached(hub: Path, repo: str, revision: str = "main") -> Iterator[Spot]:
    """Yield the snapshot of a repo in a hub cache: the one that the ref names, else the only one there is."""
    folder = hub / f"models--{repo.replace('/', '--')}"
    try:
        commit = (folder / "refs" / revision).read_text(encoding="utf-8").strip()
        yield Spot(folder / "snapshots" / commit)
        return
    except (OSError, UnicodeDecodeError):
        pass
    try:
        snapshots = [path for path in (folder / "snapshots").iterdir() if path.is_dir()]
    except OSError:
        return
    if len(snapshots) == 1:
        yield Spot(snapshots[0])


def whole_at(one: FileSet, must: tuple[str, ...], spot: Spot) -> Path | None:
    """Return what a trainer is given of the set at this spot, or None unless every file is there and whole.

    `must` is the set's own, or its kin's.
    """
    if one.tree and spot.flat:
        return None
    found: list[Path] = []
    for path in must:
        place = spot.place(path)
        here = sorted(spot.folder.glob(path)) if "*" in path else [place] if place.is_file() else []
        if not here:
            return None
        found += here
    files = {shard for path in found for shard in shards(path)}
    indexes = spot.folder.rglob("*.index.json") if one.tree else ()
    if not all(map(is_whole, files)) or not all(map(is_complete, indexes)):
        return None
    return spot.folder if one.tree else found[0].parent if one.as_folder else found[0]


def is_whole(path: Path) -> bool:
    """Tell whether a file holds all of its bytes, as far as it says itself how many these are."""
    try:
        return CHECKS.get(path.suffix, _is_filled)(path)
    except OSError:
        return False


def is_complete(index: Path) -> bool:
    """Tell whether every file that an index (*.index.json: weight_map) names lies beside it."""
    value = read_json(index)
    names = value.get("weight_map") if isinstance(value, dict) else None
    return isinstance(names, dict) and all(
        (index.parent / str(name)).is_file() for name in set(names.values())
    )


def _is_filled(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError):
        return False
    return True


CHECKS: dict[str, Callable[[Path], bool]] = {
    ".safetensors": is_whole_safetensors,
    ".pth": zipfile.is_zipfile,
    ".json": _is_json,
}
"""How a file of this ending is looked at; any other must not be empty."""
