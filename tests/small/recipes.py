"""The recipes that there are, one for each set of layers: models of a family are converted alike."""

from musabi.lora.models import Model
from musabi.recipes.lora_models import known_models


def of_one_kind(models: tuple[Model, ...] | None = None) -> list[str]:
    """Return a model's name for each way to convert; the others' layers and conversion are the same."""
    found = {
        (model.modules, model.form, model.prefix, model.strip, model.fused): model.name
        for model in (known_models() if models is None else models)
    }
    return sorted(found.values())
