"""The models as the LoRA tools need them: what each recipe says of its layers and of ComfyUI."""

from musabi.lora.models import Model
from musabi.recipes.load import load, names
from musabi.recipes.recipe import Recipe


def lora_model(recipe: Recipe) -> Model:
    """Return what a recipe says of its LoRAs."""
    network, conversion = recipe.network, recipe.conversion
    return Model(
        name=recipe.name,
        title=recipe.title,
        family=recipe.family,
        architecture=recipe.architecture,
        modules=network.modules,
        network_modules=tuple(name for name in (network.lora, network.loha, network.lokr) if name),
        form=conversion.to,
        prefix=conversion.prefix,
        strip=conversion.strip,
        fused=tuple(conversion.fused.items()),
    )


def known_models() -> tuple[Model, ...]:
    """Return every model that there is a recipe for."""
    return tuple(lora_model(load(name)) for name in names())
