"""Caches the latents of a dataset's images: `python -m musabi.engines.diffusers.cache_latents --help`."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from musabi.engines.diffusers.process import Arguments, Progress, emit, run
from musabi.job.events import Event

PHASE: Final = "cache-latents"
ENDING = "_zi.safetensors"


def arguments() -> Arguments:
    """Return the parser; names and defaults are musubi-tuner's."""
    parser = Arguments("cache_latents", "Encode a dataset's images with the VAE.")
    parser.add_argument("--dataset_config", type=Path, required=True)
    parser.add_argument("--vae", type=Path, required=True)
    parser.add_argument("--device", help="a torch device; the GPU where there is one")
    parser.add_argument("--batch_size", type=int, default=1, help="images at a time, of one bucket")
    parser.add_argument("--num_workers", type=int, default=1, help="threads that read images")
    parser.add_argument("--skip_existing", action="store_true", help="keep files that are whole")
    parser.add_argument("--keep_cache", action="store_true", help="keep files of images that are gone")
    parser.add_argument("--disable_cudnn_backend", action="store_true")
    return parser


def main(argv: Sequence[str]) -> int:
    """Cache what is missing, then delete what belongs to no image."""
    args = arguments().read(argv)
    from musabi.dataset.caches import latents_file
    from musabi.dataset.config import read_config
    from musabi.engines.diffusers import cachefiles

    config = read_config(args.dataset_config)
    pairs = cachefiles.pairs_of(config)
    missing = cachefiles.to_do(pairs, latents_file, args.skip_existing)
    if missing:
        _encode(missing, args)
    gone = 0 if args.keep_cache else cachefiles.remove_strangers(config, pairs, latents_file, ENDING)
    removed = f" {gone} that belong to no image were removed." if gone else ""
    emit(Event(phase=PHASE, message=f"{len(missing)} of {len(pairs)} latents were made.{removed}"))
    return 0


def _encode(pairs: list[Any], args: Any) -> None:  # noqa: ANN401 - argparse.Namespace
    import torch

    from musabi.engines.diffusers import cachefiles, loading, pictures

    if args.disable_cudnn_backend:
        torch.backends.cudnn.enabled = False
    device = loading.device_for(args.device)
    vae = loading.load_vae(args.vae, device)
    progress = Progress(PHASE, len(pairs))
    with ThreadPoolExecutor(max(1, args.num_workers)) as readers:
        for batch in _batches(pairs, args.batch_size):
            pixels = list(
                readers.map(lambda pair: pictures.read_picture(pair[1].image, pair[1].bucket), batch)
            )
            images = torch.stack([torch.from_numpy(each) for each in pixels]).permute(0, 3, 1, 2)
            with torch.no_grad():
                latents = vae.encode(images.to(device).float() / 127.5 - 1.0).latent_dist.mode()
            for pair, each in zip(batch, latents, strict=True):
                cachefiles.write_latents(pair, each)
            progress.advance(len(batch))


def _batches(pairs: list[Any], size: int) -> Iterator[list[Any]]:
    """Yield batches that never mix buckets."""
    buckets: dict[tuple[int, int], list[Any]] = defaultdict(list)
    for pair in pairs:
        buckets[pair[1].bucket].append(pair)
    for members in buckets.values():
        for start in range(0, len(members), size):
            yield members[start : start + size]


if __name__ == "__main__":
    run(PHASE, main)
