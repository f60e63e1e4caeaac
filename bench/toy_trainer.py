"""Runs a musubi-tuner script with a Z-Image of toy size: python toy_trainer.py SIZES_JSON SCRIPT ARGUMENTS...

The trainer's sizes are constants that are read when the model is made; this sets them first, in its own
process, and then is the script. Its source stays as it is.
"""

import json
import runpy
import sys
from importlib.metadata import version
from typing import Any


def shrink(sizes: dict[str, Any]) -> None:
    """Put the toy's sizes in the places of the real ones."""
    from musubi_tuner.zimage import zimage_config  # type: ignore[import-not-found, unused-ignore]

    for name, value in (
        ("ROPE_AXES_DIMS", sizes["axes"]),
        ("DEFAULT_TRANSFORMER_DIM", sizes["dim"]),
        ("DEFAULT_TRANSFORMER_N_LAYERS", sizes["layers"]),
        ("DEFAULT_TRANSFORMER_N_REFINER_LAYERS", sizes["refiners"]),
        ("DEFAULT_TRANSFORMER_N_HEADS", sizes["heads"]),
        ("DEFAULT_TRANSFORMER_N_KV_HEADS", sizes["heads"]),
        ("DEFAULT_TRANSFORMER_CAP_FEAT_DIM", sizes["text"]),
    ):
        setattr(zimage_config, name, value)


def declare_vision_operators() -> None:
    """A torchvision that was built for CUDA asks a torch without it for these two when it is imported."""
    import torch

    if torch.version.cuda is None and "+cpu" not in version("torchvision"):
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        globals()["kept"] = library


if __name__ == "__main__":
    declare_vision_operators()
    shrink(json.loads(sys.argv[1]))
    sys.argv = sys.argv[2:]
    runpy.run_path(sys.argv[0], run_name="__main__")
