"""How many bytes are still to be written before a training is done, and where."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from musabi.dataset.config import ANY_MODEL, ImageDataset, read_config
from musabi.dataset.extensions import IMAGE_EXTENSIONS
from musabi.engines.dit_file import lora_parameters
from musabi.errors import RequestError
from musabi.hub.client import folder_bytes
from musabi.hub.faults import HubError
from musabi.hub.listing import Listing, list_files
from musabi.hub.weights import Wanted
from musabi.job.planner import disk_bytes
from musabi.job.schedule import schedule
from musabi.pod.doctor.scene import Scene
from musabi.recipes import make_job

ENVIRONMENT_BYTES = 12_000_000_000
"""What the trainer's environment takes; the bootstrap says the same where a disk is full."""
CACHE_BYTES = 4_000_000
"""An image's caches: latents of 16 x 128 x 128 in float32, a caption of 512 x 2560 in bfloat16, and some room."""
MODULES = 30 * (4 * (3840 + 3840) + 3 * (3840 + 10240))
"""Inputs and outputs of what Z-Image's LoRA covers, while the DiT is not there to be counted: 30 layers of 3840
values with a hidden size of 10240 (musubi-tuner v0.3.4, zimage_config.py and zimage_model.py)."""
NO_USE_IN_ASKING_ON = frozenset({"dns", "connection", "offline", "unauthorized"})


@dataclass(frozen=True)
class Need:
    """Bytes still to be written under a folder, and for what."""

    folder: Path
    title: str
    size: int


def needs(scene: Scene) -> tuple[list[Need], list[str]]:
    """Return what is still to be written, and the repos whose sizes the hub did not say."""
    weights, silent = _weights(scene)
    found = [*weights, *_environment(scene), *_caches(scene), *_results(scene)]
    return [need for need in found if need.size > 0], silent


def _weights(scene: Scene) -> tuple[list[Need], list[str]]:
    found: list[Need] = []
    silent: dict[str, None] = {}
    left = list(scene.missing_weights)
    while left:
        wanted = left.pop(0)
        try:
            listing = list_files(wanted, scene.access)
        except HubError as fault:
            silent |= dict.fromkeys([wanted.repo])
            if fault.kind in NO_USE_IN_ASKING_ON:
                silent |= dict.fromkeys(one.repo for one in left)
                break
            continue
        found.append(Need(scene.places.staging(wanted), "weights", _to_come(scene, wanted, listing)))
    return found, list(silent)


def _to_come(scene: Scene, wanted: Wanted, listing: Listing) -> int:
    """Return the bytes that are in no final place yet, less those in the folder of unfinished files."""
    finals = ((scene.places.final(wanted, file.path, listing.commit), file.size) for file in listing.files)
    missing = sum(size for final, size in finals if not (final.is_file() and final.stat().st_size == size))
    return missing - folder_bytes(scene.places.staging(wanted))[0]


def _environment(scene: Scene) -> Iterator[Need]:
    if scene.trainer_python is None:
        size = ENVIRONMENT_BYTES - folder_bytes(scene.venv)[1]
        yield Need(scene.settings.musabi_state_dir, "musubi-tuner's environment", size)


def _caches(scene: Scene) -> Iterator[Need]:
    try:
        config = read_config(scene.settings.dataset_config, ANY_MODEL)
    except RequestError:
        return  # what is wrong with it is for `musabi check` to say
    for dataset in config.datasets:
        yield Need(dataset.cache_directory, "caches", _uncached(dataset) * CACHE_BYTES)


def _uncached(dataset: ImageDataset) -> int:
    """Return how many images have no caption cache yet, counted by names alone."""
    folder, cache = dataset.image_directory, dataset.cache_directory
    images = sum(path.suffix in IMAGE_EXTENSIONS for path in folder.iterdir()) if folder.is_dir() else 0
    cached = sum(1 for _ in cache.glob("*_te.safetensors")) if cache.is_dir() else 0
    return max(0, images - cached)


def _results(scene: Scene) -> Iterator[Need]:
    """Checkpoints and states of one run. How many there are does not depend on the dataset's size."""
    job = make_job(scene.settings)
    parameters = (
        lora_parameters(job.dit, scene.recipe.network.modules, job.network_dim) or MODULES * job.network_dim
    )
    timing, _ = schedule(job, steps_per_epoch=25)
    yield Need(job.output_dir, "checkpoints and states", disk_bytes(job, timing, parameters))
