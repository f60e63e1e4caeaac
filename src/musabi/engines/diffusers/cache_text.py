"""Caches the embeddings of a dataset's captions: `python -m musabi.engines.diffusers.cache_text --help`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from musabi.engines.diffusers.process import Arguments, Progress, emit, run
from musabi.job.events import Event

PHASE: Final = "cache-text"
ENDING = "_zi_te.safetensors"


def arguments() -> Arguments:
    """Return the parser; names and defaults are musubi-tuner's."""
    parser = Arguments("cache_text", "Encode a dataset's captions with the text encoder.")
    parser.add_argument("--dataset_config", type=Path, required=True)
    parser.add_argument("--text_encoder", type=Path, required=True)
    parser.add_argument("--device", help="a torch device; the GPU where there is one")
    parser.add_argument("--batch_size", type=int, default=1, help="captions at a time")
    parser.add_argument("--num_workers", type=int, default=1, help="accepted, has nothing to do here")
    parser.add_argument("--skip_existing", action="store_true", help="keep files that are whole")
    parser.add_argument("--keep_cache", action="store_true", help="keep files of images that are gone")
    return parser


def main(argv: Sequence[str]) -> int:
    """Cache what is missing, then delete what belongs to no image."""
    args = arguments().read(argv)
    from musabi.dataset.caches import text_file
    from musabi.dataset.config import read_config
    from musabi.engines.diffusers import cachefiles

    config = read_config(args.dataset_config)
    pairs = cachefiles.pairs_of(config)
    missing = cachefiles.to_do(pairs, text_file, args.skip_existing)
    if missing:
        _encode(missing, args)
    gone = 0 if args.keep_cache else cachefiles.remove_strangers(config, pairs, text_file, ENDING)
    removed = f" {gone} that belong to no image were removed." if gone else ""
    emit(Event(phase=PHASE, message=f"{len(missing)} of {len(pairs)} captions were encoded.{removed}"))
    return 0


def _encode(pairs: list[Any], args: Any) -> None:  # noqa: ANN401 - argparse.Namespace
    from musabi.engines.diffusers import cachefiles, encoding, loading

    device = loading.device_for(args.device)
    tokenizer = loading.load_tokenizer(args.text_encoder)
    encoder = loading.load_text_encoder(args.text_encoder, device, loading.dtype_for(device))
    progress = Progress(PHASE, len(pairs))
    for start in range(0, len(pairs), args.batch_size):
        batch = pairs[start : start + args.batch_size]
        embeddings = encoding.encode(tokenizer, encoder, [item.caption for _, item in batch])
        for pair, embedding in zip(batch, embeddings, strict=True):
            cachefiles.write_text(pair, embedding)
        progress.advance(len(batch))


if __name__ == "__main__":
    run(PHASE, main)
