"""One TOML file a model: weights, scripts, arguments, limits. Adding a model is adding a file."""

from musabi.recipes.recipe import Argument, Recipe, Weights, load, names

__all__ = ["Argument", "Recipe", "Weights", "load", "names"]
