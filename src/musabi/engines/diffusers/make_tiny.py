"""Makes a small model in Z-Image's layout: the same file and tensor names, a thousandth of the size.

Everything follows from the seed; nothing is downloaded. Both engines read the result: the sizes are in
tiny.json for whoever has to tell them to a trainer.
"""

import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from musabi.errors import RequestError
from musabi.whole import read_json, replacing, write_json

# Raised whenever the recipe below changes, so that an older model is made anew.
RECIPE = 4

SIDE = 128
PICTURES, ROBOTS = 128, 12
STEPS = 640
DIT_SHARDS, TEXT_SHARDS = 2, 3

Say = Callable[[str], None]


def make_tiny(models: Path, hf_home: Path, *, seed: int, say: Say) -> Path:
    """Write the small model under `models` (dit/, vae/, text_encoder/) and return that folder.

    Its tokenizer also goes into the hub cache under `hf_home`, where musubi-tuner looks for Z-Image's,
    unless one is there. A whole model of the same seed is kept. Takes about a minute on two cores.

    Raises:
        RequestError: other weights lie under the names that it would use.
    """
    if _is_whole(models, seed):
        _place_tokenizer(models, hf_home)
        say(f"The small model in {models} is there already.")
        return models
    _refuse_others(models)
    import torch

    (models / "tiny.json").unlink(missing_ok=True)
    started = time.monotonic()
    with _seeded(torch, seed):
        sizes = _make(models, seed, say)
    _place_tokenizer(models, hf_home)
    files = {str(path.relative_to(models)): path.stat().st_size for path in _files(models)}
    write_json(models / "tiny.json", {"recipe": RECIPE, "seed": seed, "files": files} | sizes)
    say(f"The small model took {time.monotonic() - started:.0f} s.")
    return models


@contextmanager
def _seeded(torch: Any, seed: int) -> Iterator[None]:  # noqa: ANN401
    """Draw from `seed` inside, on one thread; leave the caller's random state and threads as they were.

    Sums depend on the number of threads, so with one the bytes don't depend on the machine's cores; for
    tensors this small, more threads gain next to nothing.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(threads)


def _weight_files(models: Path) -> list[Path]:
    dit = [f"dit/diffusion_pytorch_model-{i + 1:05d}-of-{DIT_SHARDS:05d}" for i in range(DIT_SHARDS)]
    text = [f"text_encoder/model-{i + 1:05d}-of-{TEXT_SHARDS:05d}" for i in range(TEXT_SHARDS)]
    return [models / f"{name}.safetensors" for name in (*dit, "vae/ae", *text)]


def _files(models: Path) -> list[Path]:
    from musabi.engines.diffusers.tiny_tokenizer import FILES

    return [*_weight_files(models), *(models / "text_encoder" / "tokenizer" / name for name in FILES)]


def _is_whole(models: Path, seed: int) -> bool:
    made = read_json(models / "tiny.json")
    if not isinstance(made, dict) or (made.get("recipe"), made.get("seed")) != (RECIPE, seed):
        return False
    return all(
        (models / name).is_file() and (models / name).stat().st_size == size
        for name, size in made["files"].items()
    )


def _refuse_others(models: Path) -> None:
    """Refuse to write over weights that are not a small model's: they are larger than any of its files."""
    for path in _weight_files(models):
        if path.is_file() and path.stat().st_size > 64 * 2**20:
            raise RequestError(
                f"{path} holds other weights, which the small model would replace. Name another folder: "
                "musabi models make-tiny FOLDER"
            )


def _place_tokenizer(models: Path, hf_home: Path) -> None:
    from musabi.engines.diffusers import tiny_tokenizer

    if not (hf_home / "hub" / tiny_tokenizer.HUB_FOLDER / "refs" / "main").exists():
        tiny_tokenizer.place_in_hub_cache(models / "text_encoder" / "tokenizer", hf_home / "hub")


def _make(models: Path, seed: int, say: Say) -> dict[str, Any]:
    """Make and write everything; return the sizes that tiny.json tells."""
    import torch

    from musabi.engines.diffusers import tiny_fit, tiny_tokenizer, tiny_vae

    pictures, captions, others = _draw(seed)
    folder = models / "text_encoder" / "tokenizer"
    tiny_tokenizer.write_tokenizer(folder, sorted({*captions, *others, "user\n", "assistant\n"}))
    say("Solving the small VAE.")
    vae, _ = tiny_vae.solve_vae(torch.cat([pictures[:36], pictures[len(captions) :]]))
    with torch.no_grad():
        latents = torch.cat([vae.encode(part).latent_dist.mode() for part in pictures.split(32)])
    named = tiny_vae.original_names(vae.state_dict())
    _write_shards(models, "vae/ae", 1, named, {"norm_num_groups": str(tiny_vae.GROUPS)})
    encoder = tiny_fit.new_text_encoder(tiny_tokenizer.VOCABULARY)
    tensors = {f"model.{name}": tensor for name, tensor in _in_bf16(encoder).items()}
    _write_shards(models, "text_encoder/model", TEXT_SHARDS, tensors, {"tokenizer": folder.name})

    transformer = tiny_fit.new_transformer()

    def tell(step: int, loss: float) -> None:
        if step % 40 == 0:
            say(f"Fitting the base: step {step} of {STEPS}, loss {loss:.2f}")

    tiny_fit.fit_transformer(
        transformer, latents[: len(captions)], _embeddings(models, captions), STEPS, seed, tell
    )
    _write_shards(models, "dit/diffusion_pytorch_model", DIT_SHARDS, _in_bf16(transformer), {"format": "pt"})
    return _sizes()


def _in_bf16(model: Any) -> dict[str, Any]:  # noqa: ANN401 - a torch module
    import torch

    return {name: tensor.to(torch.bfloat16) for name, tensor in model.state_dict().items()}


def _draw(seed: int) -> tuple[Any, list[str], list[str]]:
    """Return (pictures [N, 3, SIDE, SIDE] in -1..1, captions of the shapes, captions of the rest).

    The base learns the shapes. The characters come last, for the VAE and the tokenizer only.
    """
    import numpy
    import torch

    from musabi.engines.diffusers import drawings

    rng = random.Random(seed)  # noqa: S311 - pictures, no secrets
    shapes = [drawings.draw_shape(rng, SIDE) for _ in range(PICTURES)]
    robots = [drawings.draw_robot(rng, SIDE) for _ in range(ROBOTS)]
    pixels = numpy.stack([numpy.asarray(image) for image, _ in (*shapes, *robots)])
    pictures = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1
    return pictures, [caption for _, caption in shapes], [caption for _, caption in robots]


def _embeddings(models: Path, captions: list[str]) -> list[Any]:
    """Return each caption's embedding as every reader of the files will get it."""
    import torch

    from musabi.engines.diffusers import encoding, loading

    first = _weight_files(models)[DIT_SHARDS + 1]
    encoder = loading.load_text_encoder(first, torch.device("cpu"), torch.float32)
    distinct = sorted(set(captions))
    found = encoding.encode(loading.load_tokenizer(first), encoder, distinct)
    by_caption = dict(zip(distinct, found, strict=True))
    return [by_caption[caption] for caption in captions]


def _write_shards(
    models: Path, stem: str, count: int, tensors: Mapping[str, Any], metadata: Mapping[str, str]
) -> None:
    """Write `tensors` in their order over `count` files of about the same number of tensors.

    More than one entry of metadata would stand in a random order, and the bytes would differ each time.
    """
    from safetensors.torch import save

    names = list(tensors)
    for i in range(count):
        part = names[i * len(names) // count : (i + 1) * len(names) // count]
        suffix = f"-{i + 1:05d}-of-{count:05d}" if count > 1 else ""
        data = save({name: tensors[name].contiguous() for name in part}, dict(metadata))
        with replacing(models / f"{stem}{suffix}.safetensors") as path:
            path.write_bytes(data)


def _sizes() -> dict[str, Any]:
    from musabi.engines.diffusers import arch, tiny_fit, tiny_tokenizer, tiny_vae

    return {
        "transformer": {
            "dim": tiny_fit.DIM,
            "n_layers": tiny_fit.LAYERS,
            "n_refiner_layers": tiny_fit.REFINERS,
            "n_heads": tiny_fit.HEADS,
            "n_kv_heads": tiny_fit.HEADS,
            "cap_feat_dim": tiny_fit.TEXT["hidden_size"],
            "axes_dims": arch.rope_axes(tiny_fit.DIM // tiny_fit.HEADS),
            "axes_lens": arch.shipped("transformer")["axes_lens"],
        },
        "vae": {
            "block_out_channels": list(tiny_vae.WIDTHS),
            "layers_per_block": 1,
            "norm_num_groups": tiny_vae.GROUPS,
        },
        "text_encoder": tiny_fit.TEXT | {"vocab_size": tiny_tokenizer.VOCABULARY},
    }
