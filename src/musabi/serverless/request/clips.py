"""Which clips a request's videos are cut into."""

from musabi.dataset.clips import Clips
from musabi.recipes import load
from musabi.recipes.recipe import Recipe
from musabi.serverless.parts import EngineChoice
from musabi.serverless.request.fields import TrainingRequest
from musabi.serverless.request.model_types import ORIGINAL

DEFAULT_FPS = 16.0
WINDOW = 9
"""FramePack's latent frames in a section where a dataset TOML names none (musubi-tuner v0.3.4, config_utils.py)."""
_ORIGINAL_RECIPES = frozenset(one.recipe for one in ORIGINAL if one.recipe)


def clip_plan(request: TrainingRequest, choice: EngineChoice) -> Clips | None:
    """Return how videos become clips, or None where the request brings none.

    The lengths are latent frames x N + 1, as the model needs them; a length of 1 stands for pictures and is none.
    """
    if not request.has_videos:
        return None
    recipe = load(choice.model)
    return Clips(
        mode=request.training.video_clip_mode,
        frames=lengths(request, recipe),
        fps=recipe.dataset.fps or DEFAULT_FPS,
    )


def lengths(request: TrainingRequest, recipe: Recipe) -> tuple[int, ...]:
    """Return the lengths of clips in frames, ascending: the request's, else those that suit the model."""
    asked = "frame_buckets" in request.training.given
    frames = (
        request.training.frame_buckets if asked or recipe.name in _ORIGINAL_RECIPES else usual_lengths(recipe)
    )
    step = recipe.dataset.latent_frames
    rounded = {(each - 1) // step * step + 1 for each in frames}
    return tuple(sorted(rounded - {1}))


def usual_lengths(recipe: Recipe) -> tuple[int, ...]:
    """Return the lengths that a recipe's example takes; FramePack's are whole sections."""
    example = recipe.dataset.example
    named = example.get("target_frames")
    if isinstance(named, list):
        return tuple(named)
    most, step = int(str(example.get("max_frames", 33))), WINDOW * recipe.dataset.latent_frames
    return tuple(range(step + 1, most + 1, step)) or (most,)


def changed_lengths(request: TrainingRequest, recipe: Recipe) -> tuple[int, ...]:
    """Return the lengths that were asked for and are not of a form that the model takes."""
    if not request.has_videos or "frame_buckets" not in request.training.given:
        return ()
    step = recipe.dataset.latent_frames
    return tuple(each for each in request.training.frame_buckets if (each - 1) % step)


def trains_on_videos_alone(recipe: Recipe) -> bool:
    """Tell whether a model makes a video of a picture, so that pictures alone teach it nothing."""
    if "image" not in recipe.dataset.takes:
        return True
    named = recipe.dataset.example.get("target_frames")
    return "-i2v" in recipe.name and isinstance(named, list) and 1 not in named
