"""Third phase: the dataset as the trainer will see it is written down and looked at, before a GPU is busy."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from musabi.dataset.check import check_before_run
from musabi.dataset.config import read_config
from musabi.recipes import Recipe, load
from musabi.serverless.context import Context
from musabi.serverless.parts import BroughtDataset
from musabi.serverless.phases.bring_dataset import from_json
from musabi.serverless.request.clips import clip_plan
from musabi.serverless.request.dataset_toml import dataset_toml
from musabi.serverless.request.sample_prompts import needs_picture, prompts_text
from musabi.watch.captions import read_captions
from musabi.whole import write_text

MOST_FINDINGS = 50
CHECKED_AS = {"flux": "z-image", "sdxl": "z-image"}
"""Whose rules are used for models that only diffusion-pipe trains: pictures without control images."""


def run(context: Context, outcomes: Mapping[str, Any]) -> dict[str, Any]:
    """Cut the clips, write the dataset TOML and the prompts, check every file; return the findings.

    Raises:
        RequestError: what can't be trained on, one finding a line.
        Cancelled: the job was asked to end.
    """
    context.tell("check", "Checking dataset")
    brought = from_json(outcomes["dataset"])
    recipe = load(CHECKED_AS.get(context.choice.model, context.choice.model))
    clips, found = cut_clips(context, brought)
    folder = context.folder
    text = dataset_toml(context.request, recipe, brought.images, clips or brought.videos, folder.dataset)
    write_text(folder.dataset_config, text)
    config = read_config(folder.dataset_config, recipe.dataset, recipe.architecture, recipe.title)
    found += [finding.message for finding in check_before_run(config)]
    write_prompts(context, recipe, clips)
    for message in found:
        context.say(f"Warning: {message}")
    return {"findings": found[:MOST_FINDINGS], "more": max(0, len(found) - MOST_FINDINGS)}


def cut_clips(context: Context, brought: BroughtDataset) -> tuple[Path | None, list[str]]:
    """Cut the videos into clips; return their folder and what was left out. None where there are no videos."""
    rules = clip_plan(context.request, context.choice)
    if brought.videos is None or rules is None:
        return None, []
    from musabi.dataset.clips import cut

    said: list[str] = []
    context.tell("check", "Cutting clips")
    clips = context.folder.dataset / "clips"
    cut(brought.videos, clips, rules, said.append, context.stop)
    for line in said:
        context.say(line)
    return clips, [line for line in said if line.startswith("Left out")]


def write_prompts(context: Context, recipe: Recipe, clips: Path | None) -> None:
    """Write the prompts that the LoRA is shown with at the end; diffusion-pipe renders none."""
    if context.choice.engine == "diffusion_pipe":
        return
    picture = None
    clip = next(iter(sorted(clips.glob("*.mp4"))), None) if clips is not None else None
    if clip is not None and needs_picture(recipe):
        from musabi.dataset.first_frame import write_first_frame

        picture = context.folder.dataset / "first.png"
        write_first_frame(clip, picture)
    captions = read_captions(context.folder.dataset_config) or []
    text = prompts_text(context.request, recipe, captions, picture)
    write_text(context.folder.sample_prompts, text)
