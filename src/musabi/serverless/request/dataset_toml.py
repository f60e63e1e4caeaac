"""The dataset TOML of a request, for musubi-tuner and for the check of the files; written by a TOML library."""

from pathlib import Path
from typing import Any

from musabi.recipes.recipe import Recipe
from musabi.serverless.request.clips import lengths
from musabi.serverless.request.fields import TrainingRequest


def dataset_toml(
    request: TrainingRequest, recipe: Recipe, images: Path | None, videos: Path | None, folder: Path
) -> str:
    """Return the text of the dataset TOML. `images` and `videos` are the folders, caches go below `folder`.

    Clips are cut to their length beforehand and taken whole: with target_frames the trainer would take every
    length from every clip.
    """
    import tomlkit

    tables = []
    if images is not None:
        tables.append(_images(request, recipe, images, folder))
    if videos is not None:
        tables.append(_videos(request, recipe, videos, folder))
    general = {
        "caption_extension": ".txt",
        "batch_size": request.training.batch_size,
        "enable_bucket": True,
    }
    return tomlkit.dumps({"general": general, "datasets": tables})


def resolution(request: TrainingRequest, recipe: Recipe, *, videos: bool) -> int | list[int]:
    """Return the size to train at: a side of a square, or [width, height].

    The original's default of 1024 is for images; videos of that size need more memory than a GPU has, so the
    model's own is taken for them where a request does not say.
    """
    asked = request.training.resolution
    own = recipe.dataset.example.get("resolution")
    if videos and "resolution" not in request.training.given and isinstance(own, list):
        return own
    return asked if isinstance(asked, int) else list(asked)


def _images(request: TrainingRequest, recipe: Recipe, images: Path, folder: Path) -> dict[str, Any]:
    return {
        "image_directory": str(images),
        "cache_directory": str(folder / "cache" / "images"),
        "resolution": resolution(request, recipe, videos=False),
        "num_repeats": request.dataset.image_repeats,
    }


def _videos(request: TrainingRequest, recipe: Recipe, videos: Path, folder: Path) -> dict[str, Any]:
    return {
        "video_directory": str(videos),
        "cache_directory": str(folder / "cache" / "videos"),
        "resolution": resolution(request, recipe, videos=True),
        "num_repeats": request.dataset.video_repeats,
        "frame_extraction": "full",
        "max_frames": max(lengths(request, recipe)),
    }
