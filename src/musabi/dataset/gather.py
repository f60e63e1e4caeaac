"""The dataset as facts for a plan: images, buckets, batches and the state of the caches."""

import hashlib
import json
from pathlib import Path

from musabi.dataset.buckets import buckets
from musabi.dataset.caches import CacheInputs, cache_facts, item_identities, open_memory
from musabi.dataset.config import DatasetConfig
from musabi.dataset.finding import refuse_errors
from musabi.dataset.findings import scan_findings
from musabi.dataset.identity import Memory
from musabi.dataset.items import Scan, scan
from musabi.job.facts import CacheFacts, DatasetFacts
from musabi.job.model import Caching

# They change how fast a cache file is made, not what is in it.
SPEED_ONLY = frozenset(
    {
        "--batch_size",
        "--num_workers",
        "--device",
        "--disable_cudnn_backend",
        "--skip_existing",
        "--keep_cache",
        "--vae_cache_cpu",
    }
)


def dataset_facts(
    config: DatasetConfig,
    engine: str,
    caching: Caching,
    *,
    latent_weights: tuple[Path, ...],
    text_weights: tuple[Path, ...],
    latent_arguments: tuple[str, ...] = (),
    text_arguments: tuple[str, ...] = (),
    allow_missing_captions: bool = False,
    either_precision: bool = False,
) -> DatasetFacts:
    """Gather what a plan must know of the dataset. Reads image headers, captions and file times, no pixels.

    `engine` names who makes the caches, the weights and arguments are those of its two caching commands.
    Batch sizes, devices and numbers of workers change no cache file; everything else that is given does.
    `either_precision`: captions that are all encoded in the other precision, 8 bits or not, are fresh too.

    Raises:
        RequestError: the dataset can't be trained on as it is.
    """
    memories = tuple(open_memory(dataset) for dataset in config.datasets)
    scans = tuple(scan(dataset, memory) for dataset, memory in zip(config.datasets, memories, strict=True))
    for memory in memories:
        memory.keep()  # looking into videos takes long, and what is wrong with one may stop the next line
    refuse_errors(scan_findings(config, scans, allow_missing_captions))
    for_latents = CacheInputs(engine, latent_weights, _lasting(latent_arguments))
    latents = cache_facts("latents", scans, for_latents, memories)

    def text_facts(eight_bits: bool) -> CacheFacts:
        precision = ("fp8",) if eight_bits else ()
        inputs = CacheInputs(engine, text_weights, precision + _lasting(text_arguments))
        return cache_facts("text", scans, inputs, memories)

    text = text_facts(bool(caching.fp8_text_encoder))
    if either_precision and text.stale and not text.missing:
        other = text_facts(not caching.fp8_text_encoder)
        text = other if other.fresh else text
    sizes = tuple(bucket for each in scans for bucket in buckets(each.items, each.dataset))
    facts = DatasetFacts(
        images=sum(len(each.items) for each in scans),
        batches_per_epoch=sum(bucket.batches for bucket in sizes),
        buckets=sizes,
        fingerprint=dataset_fingerprint(scans, memories),
        latents=latents,
        text=text,
    )
    for memory in memories:
        memory.keep()
    return facts


def _lasting(args: tuple[str, ...]) -> tuple[str, ...]:
    """Return the arguments, with their values, that show in the cache files."""
    kept: list[str] = []
    shows = True
    for arg in args:
        if arg.startswith("--"):
            shows = arg.partition("=")[0] not in SPEED_ONLY
        if shows:
            kept.append(arg)
    return tuple(kept)


def dataset_fingerprint(scans: tuple[Scan, ...], memories: tuple[Memory, ...]) -> str:
    """Return a sha256 in hex over what is trained on: pixels, captions, buckets, batch sizes and repeats.

    Folders and file times do not matter, so a dataset that moved keeps its fingerprint.
    """
    content = []
    for each, memory in zip(scans, memories, strict=True):
        files: dict[str, str] = {}
        for kind in ("latents", "text"):
            files |= {path.name: identity for path, identity in item_identities(kind, each, memory).items()}
        content.append([each.dataset.batch_size, each.dataset.num_repeats, sorted(files.items())])
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
