"""The models that a request can name, and what each is for the engines."""

from dataclasses import dataclass

from musabi.errors import RequestError
from musabi.recipes import load


@dataclass(frozen=True)
class ModelType:
    """One model. `title` is its name for people, `recipe` musubi-tuner's recipe, `pipe` diffusion-pipe's type.

    None where that trainer does not have it.
    """

    name: str
    title: str
    recipe: str | None
    pipe: str | None

    @property
    def model(self) -> str:
        """What EngineChoice names: the recipe, else diffusion-pipe's type."""
        return self.recipe or str(self.pipe)


ORIGINAL = (
    ModelType("flux", "Flux", None, "flux"),
    ModelType("sdxl", "SDXL", None, "sdxl"),
    ModelType("wan13", "Wan 1.3B", "wan2.1-t2v-1.3b", "wan"),
    ModelType("wan14b_t2v", "Wan 14B T2V", "wan2.1-t2v-14b", "wan"),
    ModelType("wan14b_i2v", "Wan 14B I2V", "wan2.1-i2v-14b-480p", "wan"),
    ModelType("qwen", "Qwen Image", "qwen-image", "qwen_image"),
    ModelType("z_image_turbo", "Z Image Turbo", "z-image-turbo", "z_image"),
)
"""The original's model types, in the order in which its error message names them."""
OURS = (ModelType("z_image", "Z-Image", "z-image", "z_image"),)

_BY_NAME = {one.name: one for one in (*ORIGINAL, *OURS)}
_BY_RECIPE = {one.recipe: one for one in (*ORIGINAL, *OURS) if one.recipe}


def find(name: str) -> ModelType | None:
    """Return the model of that name: an original type, a recipe, or a recipe's alias; None where there is none."""
    return _BY_NAME.get(name) or _of_recipe(name)


def of_model(model: str) -> ModelType:
    """Return the model that EngineChoice names as `model`.

    Raises:
        KeyError: there is none.
    """
    found = find(model)
    if found is None:
        raise KeyError(model)
    return found


def _of_recipe(name: str) -> ModelType | None:
    try:
        recipe = load(name)
    except RequestError:
        return None
    known = _BY_RECIPE.get(recipe.name)
    return ModelType(name, recipe.title, recipe.name, known.pipe if known else None)
