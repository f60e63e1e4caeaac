"""First phase: the dataset comes from its addresses into the job's own folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from musabi.serverless.context import Context
from musabi.serverless.intake.bring import bring
from musabi.serverless.parts import BroughtDataset


def run(context: Context, _outcomes: Mapping[str, Any]) -> dict[str, Any]:
    """Fetch and unpack; return what came, for the phases after it and for the answer."""
    context.tell("dataset", "Downloading dataset")
    brought = bring(context)
    context.say(f"Dataset: {brought.image_count} images, {brought.video_count} videos")
    return as_json(brought)


def as_json(brought: BroughtDataset) -> dict[str, Any]:
    """Return what came as a JSON object."""
    return {
        "images": brought.image_count,
        "videos": brought.video_count,
        "images_folder": str(brought.images) if brought.images else None,
        "videos_folder": str(brought.videos) if brought.videos else None,
        "uncaptioned": [str(path) for path in brought.uncaptioned],
        "left_out": [{"name": name, "why": why} for name, why in brought.left_out],
    }


def from_json(values: Mapping[str, Any]) -> BroughtDataset:
    """Return what `as_json` made the values of."""
    folders = {
        kind: Path(values[f"{kind}_folder"]) if values[f"{kind}_folder"] else None
        for kind in ("images", "videos")
    }
    return BroughtDataset(
        images=folders["images"],
        videos=folders["videos"],
        image_count=values["images"],
        video_count=values["videos"],
        uncaptioned=tuple(map(Path, values["uncaptioned"])),
        left_out=tuple((one["name"], one["why"]) for one in values["left_out"]),
    )
