"""Lets the real musubi-tuner load a small model, from outside: its source is never edited.

Its model sizes are constants. Each hook below runs once, right after the module that it is named for was
imported, and puts the sizes of the small model (tiny.json, named by MUSABI_TINY_SIZES) in their places.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

Hook = Callable[[ModuleType], None]


def sizes() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(os.environ["MUSABI_TINY_SIZES"]).read_text(encoding="utf-8"))
    return found


def transformer(module: ModuleType) -> None:
    tiny = dict(sizes()["transformer"])
    module.ROPE_AXES_DIMS = tiny.pop("axes_dims")  # type: ignore[attr-defined]
    module.ROPE_AXES_LENS = tiny.pop("axes_lens")  # type: ignore[attr-defined]
    for name, value in tiny.items():
        setattr(module, f"DEFAULT_TRANSFORMER_{name.upper()}", value)


def text_encoder(module: ModuleType) -> None:
    real = module.Qwen3Config
    module.Qwen3Config = lambda **values: real(**{**values, **sizes()["text_encoder"]})  # type: ignore[attr-defined]


def vae(module: ModuleType) -> None:
    real = module.AutoencoderKL
    module.AutoencoderKL = lambda **values: real(**{**values, **sizes()["vae"]})  # type: ignore[attr-defined]


def torchvision_schemas(module: ModuleType) -> None:
    """A torchvision that was built for CUDA asks a torch without it for these two when it is imported."""
    library = module.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    module.musabi_test_library = library  # type: ignore[attr-defined]


HOOKS: dict[str, Hook] = {
    "torch": torchvision_schemas,
    "musubi_tuner.zimage.zimage_config": transformer,
    "musubi_tuner.zimage.zimage_utils": text_encoder,
    "musubi_tuner.zimage.zimage_autoencoder": vae,
}


class AfterImport(importlib.abc.MetaPathFinder):
    """Finds a module as usual, and has its hook run after it."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        hook = HOOKS.pop(name, None)
        if hook is None:
            return None
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def execute_and_hook(module: ModuleType) -> None:
            execute(module)
            hook(module)

        spec.loader.exec_module = execute_and_hook  # type: ignore[method-assign]
        return spec


sys.meta_path.insert(0, AfterImport())
