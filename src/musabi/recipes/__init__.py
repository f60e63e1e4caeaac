"""One TOML file a model: weights, scripts, arguments, limits. Adding a model is adding a file."""

from musabi.recipes.job_for import make_job
from musabi.recipes.load import load, names
from musabi.recipes.recipe import Argument, Recipe, Role, Weights

__all__ = ["Argument", "Recipe", "Role", "Weights", "load", "make_job", "names"]
