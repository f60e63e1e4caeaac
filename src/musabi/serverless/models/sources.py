"""Which files a job's model is made of: a recipe's own, or those of the models that diffusion-pipe trains.

The repos of diffusion-pipe's models are those that the original endpoint fetched, and of each what its code reads
(github.com/tdrussell/diffusion-pipe at 8f83dbf: models/flux.py, models/wan/wan.py, models/qwen_image.py,
models/sdxl.py, docs/supported_models.md). FLUX.1-dev's root also holds the model as one file, which is left out.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from musabi.errors import RequestError
from musabi.hub.weights import Wanted
from musabi.recipes import load
from musabi.recipes.recipe import Recipe, Role, Tokenizer
from musabi.serverless.parts import EngineChoice, EngineOfJob
from musabi.serverless.request.model_types import find

TREES = "diffusion-pipe"
"""Folder under models/ for repos whose own folders are kept."""
ENGINES = ("musubi", "diffusion_pipe")
"""Engines whose weights lie on the hub."""


@dataclass(frozen=True)
class Kin:
    """Files of another repo that the trainer takes in place of a set; the first is the one it is given."""

    repo: str
    files: tuple[str, ...]


@dataclass(frozen=True)
class FileSet:
    """Files that are fetched and evicted together.

    `role` is what they are for: a role of a recipe, or a key under diffusion-pipe's [model]. Of `must`, paths and
    globs in the repo, each stands for at least one file that has to be there; the first is what a trainer is given,
    except of a `tree`, which keeps the repo's folders and is given as a folder. `kin` do as well where they are here.
    """

    role: str
    wanted: Wanted
    must: tuple[str, ...]
    tree: bool = False
    as_folder: bool = False
    kin: tuple[Kin, ...] = ()

    @property
    def unit(self) -> str:
        """What is locked, held and evicted as one: the folder under models/, or the repo in the hub cache."""
        return self.wanted.folder or f"models--{self.wanted.repo.replace('/', '--')}"

    @property
    def in_hub_cache(self) -> bool:
        """Whether the files, small ones, belong into the hub cache, where a trainer looks by the repo's name."""
        return self.wanted.folder is None


QWEN = "Qwen/Qwen-Image"
KIN: dict[tuple[str, str], tuple[Kin, ...]] = {
    ("Tongyi-MAI/Z-Image-Turbo", "dit"): (
        Kin("Comfy-Org/z_image_turbo", ("split_files/diffusion_models/z_image_turbo_bf16.safetensors",)),
    ),
    ("Tongyi-MAI/Z-Image-Turbo", "text_encoder"): (
        Kin("Comfy-Org/z_image_turbo", ("split_files/text_encoders/qwen_3_4b.safetensors",)),
    ),
    ("Comfy-Org/Qwen-Image_ComfyUI", "dit"): (
        Kin(QWEN, ("transformer/diffusion_pytorch_model-00001-of-00009.safetensors",)),
    ),
    ("Comfy-Org/Qwen-Image_ComfyUI", "text_encoder"): (
        Kin(QWEN, ("text_encoder/model-00001-of-00004.safetensors",)),
    ),
    ("Comfy-Org/Qwen-Image_ComfyUI", "vae"): (Kin(QWEN, ("vae/diffusion_pytorch_model.safetensors",)),),
    ("Comfy-Org/Wan_2.1_ComfyUI_repackaged", "vae"): tuple(
        Kin(f"Wan-AI/Wan2.1-{name}", ("Wan2.1_VAE.pth",)) for name in ("T2V-1.3B", "T2V-14B", "I2V-14B-480P")
    ),
    ("Wan-AI/Wan2.1-I2V-14B-720P", "text_encoder"): tuple(
        Kin(f"Wan-AI/Wan2.1-{name}", ("models_t5_umt5-xxl-enc-bf16.pth",))
        for name in ("T2V-1.3B", "T2V-14B", "I2V-14B-480P")
    ),
    ("Wan-AI/Wan2.1-I2V-14B-720P", "clip"): (
        Kin("Wan-AI/Wan2.1-I2V-14B-480P", ("models_clip_open-clip-xlm-roberta-large-vit-huge-14.pth",)),
    ),
}
"""By repo and role: what musubi-tuner's documents (zimage.md, qwen_image.md, wan.md) name beside our recipe's files."""

KIN_FAMILIES = frozenset({"z-image", "qwen-image", "qwen-image-edit", "wan"})
"""Families that these documents speak of; others share some of the files."""


def sets_of(choice: EngineChoice) -> tuple[FileSet, ...]:
    """Return the sets of files that a job needs, small ones first.

    Raises:
        RequestError: diffusion-pipe's files for this model are not known.
    """
    if choice.engine != "diffusion_pipe":
        return _of_recipe(load(choice.model))
    if choice.model not in PIPE_SETS:
        raise RequestError(
            f"It is not known which files diffusion-pipe needs for {choice.model}. It is known for "
            f"{', '.join(PIPE_SETS)}; leave engine out for any other."
        )
    return PIPE_SETS[choice.model]


def rows_of(
    choice: EngineChoice, sets: tuple[FileSet, ...], where: Mapping[str, Path], models: Path
) -> dict[str, Any]:
    """Return what the trainer is told of the files; `where` is by role.

    For musabi run: a setting for each that is not where the recipe has it under `models`. For diffusion-pipe: the keys
    of its [model] table.
    """
    if choice.engine == "diffusion_pipe":
        mine = (one for one in sets if not one.in_hub_cache)
        return {one.role: SHAPES.get(one.role, str)(where[one.role]) for one in mine}
    return {
        f"{one.role}_path": str(where[one.role])
        for one in sets
        if not one.in_hub_cache and not where[one.role].is_relative_to(models)
    }


SHAPES: dict[str, Any] = {
    "text_encoders": lambda path: [{"path": str(path), "type": "lumina2"}],
    "merge_adapters": lambda path: [str(path)],
}
"""Keys of [model] that take more than a path (docs/supported_models.md, Z-Image)."""


def named_choice(name: str, engine: str | None) -> EngineChoice:
    """Return the choice that a model's name, as a request has it, stands for on the command line.

    Raises:
        RequestError: there is no such model or engine, or this engine does not train it.
    """
    if engine not in (None, *ENGINES):
        raise RequestError(f'There is no engine "{engine}" to fetch for. Choose one of {", ".join(ENGINES)}.')
    model = find(name)
    if model is None:
        raise RequestError(
            f'There is no model "{name}". Take flux, sdxl, or a name that musabi models list shows.'
        )
    trained_by = {"musubi": model.recipe, "diffusion_pipe": model.pipe}
    chosen: EngineOfJob = (
        "diffusion_pipe" if engine == "diffusion_pipe" or (engine is None and not model.recipe) else "musubi"
    )
    if trained_by[chosen] is None:
        raise RequestError(f"{chosen} does not train {model.title}. Leave --engine out.")
    return EngineChoice(chosen, model.model, model.title, "asked for by name")


def _of_recipe(recipe: Recipe) -> tuple[FileSet, ...]:
    weights = sorted(recipe.weights.items(), key=lambda entry: entry[1].gigabytes)
    tokenizers = (_tokenizer(number, one) for number, one in enumerate(recipe.tokenizers, start=1))
    return (*tokenizers, *(_weights(recipe, role) for role, _ in weights))


def _weights(recipe: Recipe, role: Role) -> FileSet:
    one = recipe.weights[role]
    known = KIN.get((one.repo, role), ()) if recipe.family in KIN_FAMILIES else ()
    wanted = Wanted(_name(one.folder, one.files[0]), one.repo, one.files, one.folder, one.revision)
    return FileSet(role, wanted, one.files, as_folder=one.as_folder, kin=known)


def _tokenizer(number: int, one: Tokenizer) -> FileSet:
    patterns = (f"{one.folder}/*",) if one.folder else one.files + one.also
    must = tuple(f"{one.folder}/{name}" if one.folder else name for name in one.files)
    folder = f"{one.repo.replace('/', '--')}--{one.folder.replace('/', '--')}"
    return FileSet(f"tokenizer{number}", Wanted(_name(folder, must[0]), one.repo, patterns, None), must)


def _name(folder: str, first: str) -> str:
    """Return a name that no other set has: staging folders and records go by it."""
    return f"{folder.replace('/', '--')}--{PurePosixPath(first).name}"


def _file(role: str, repo: str, path: str, folder: str) -> FileSet:
    return FileSet(role, Wanted(_name(folder, path), repo, (path,), folder), (path,))


def _configs(repo: str, must: tuple[str, ...]) -> FileSet:
    """Return the small files of a repo that diffusers reads from the hub cache."""
    name = f"{repo.replace('/', '--')}--configs"
    return FileSet("configs", Wanted(name, repo, ("*.json", "*.txt"), None), must)


def _tree(role: str, repo: str, patterns: tuple[str, ...], must: tuple[str, ...]) -> FileSet:
    folder = f"{TREES}/{repo.partition('/')[2]}"
    return FileSet(role, Wanted(_name(folder, "tree"), repo, patterns, folder), must, tree=True)


def _wan(name: str, *more: str) -> tuple[FileSet, ...]:
    must = (
        "config.json",
        "diffusion_pytorch_model*.safetensors",
        "models_t5_umt5-xxl-enc-bf16.pth",
        "Wan2.1_VAE.pth",
        "google/umt5-xxl/*",
    )
    patterns = ("config.json", "diffusion_pytorch_model*", *must[2:], *more)
    return (_tree("ckpt_path", f"Wan-AI/Wan2.1-{name}", patterns, (*must, *more)),)


def _folders(*names: str) -> tuple[str, ...]:
    return ("model_index.json", *(f"{name}/*" for name in names))


SDXL_CONFIGS = (
    "model_index.json",
    "scheduler/scheduler_config.json",
    "text_encoder/config.json",
    "text_encoder_2/config.json",
    "tokenizer/merges.txt",
    "tokenizer/vocab.json",
    "tokenizer_2/merges.txt",
    "tokenizer_2/vocab.json",
    "unet/config.json",
    "vae/config.json",
)
"""What diffusers' from_single_file reads for every SDXL checkpoint, from the repo that it takes it to be made from."""
COMFY = "Comfy-Org/z_image_turbo"
SPLIT = "split_files/diffusion_models"
Z_IMAGE = (
    _file("vae", COMFY, "split_files/vae/ae.safetensors", "vae"),
    _file("text_encoders", COMFY, "split_files/text_encoders/qwen_3_4b.safetensors", "z_image_text"),
)
"""What both Z-Images share; a folder of its own for each, since a folder leaves the disk as a whole."""
PIPE_SETS: dict[str, tuple[FileSet, ...]] = {
    "flux": (
        _tree(
            "diffusers_path",
            "black-forest-labs/FLUX.1-dev",
            _folders(
                "scheduler",
                "text_encoder",
                "text_encoder_2",
                "tokenizer",
                "tokenizer_2",
                "transformer",
                "vae",
            ),
            (
                "model_index.json",
                "scheduler/*.json",
                "text_encoder/*.safetensors",
                "text_encoder_2/*.safetensors",
                "tokenizer/*.json",
                "tokenizer_2/*.json",
                "transformer/config.json",
                "transformer/*.safetensors",
                "vae/config.json",
                "vae/*.safetensors",
            ),
        ),
    ),
    "sdxl": (
        _configs("stabilityai/stable-diffusion-xl-base-1.0", SDXL_CONFIGS),
        _file("checkpoint_path", "timoshishi/sdXL_v10VAEFix", "sdXL_v10VAEFix.safetensors", "sdXL_v10VAEFix"),
    ),
    "wan2.1-t2v-1.3b": _wan("T2V-1.3B"),
    "wan2.1-t2v-14b": _wan("T2V-14B"),
    "wan2.1-i2v-14b-480p": _wan(
        "I2V-14B-480P", "models_clip_open-clip-xlm-roberta-large-vit-huge-14.pth", "xlm-roberta-large/*"
    ),
    "qwen-image": (
        _tree(
            "diffusers_path",
            QWEN,
            _folders("text_encoder", "transformer", "vae"),
            (
                "text_encoder/*.safetensors",
                "transformer/*.safetensors",
                "vae/*.safetensors",
            ),
        ),
    ),
    "z-image": (
        *Z_IMAGE,
        _file("diffusion_model", "Comfy-Org/z_image", f"{SPLIT}/z_image_bf16.safetensors", "z_image"),
    ),
    "z-image-turbo": (
        *Z_IMAGE,
        _file(
            "merge_adapters",
            "ostris/zimage_turbo_training_adapter",
            "zimage_turbo_training_adapter_v2.safetensors",
            "zimage_turbo_training_adapter",
        ),
        _file("diffusion_model", COMFY, f"{SPLIT}/z_image_turbo_bf16.safetensors", "z_image_turbo"),
    ),
}
"""By model: what diffusion-pipe reads, by its key under [model]."""
