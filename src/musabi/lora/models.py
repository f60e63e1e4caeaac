"""Which model a LoRA belongs to, by the names of its layers and by what the trainer wrote about it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final, Literal

from musabi.errors import RequestError
from musabi.lora.adapter import Adapter, named
from musabi.lora.names import Fused, Names

ARCHITECTURES: Final[Mapping[str, str]] = {
    "hunyuan_video": "hv", "wan": "wan", "framepack": "fp", "flux_kontext": "fk", "flux_2_dev": "f2d",
    "flux_2_klein_4b": "f2k4b", "flux_2_klein_9b": "f2k9b", "qwen_image": "qi", "qwen_image_edit": "qie",
    "qwen_image_layered": "qil", "kandinsky5": "k5", "hunyuan_video_1_5": "hv15", "z_image": "zi",
    "hidream_o1_image": "ho1", "ideogram4": "i4", "krea2": "kr2",
}  # fmt: skip
"""What the trainer writes as `ss_base_model_version`, and its own short name of that architecture. One that
is not here is told by its network module and its layers."""


@dataclass(frozen=True)
class Model:
    """What must be known of a model: its recipe's name and values.

    `modules`: templates of its layers' names. `network_modules`: what the trainer calls its kinds of LoRA.
    `form`, `prefix`, `strip`, `fused`: what ComfyUI reads (see `Names`).
    """

    name: str
    title: str
    family: str
    architecture: str
    modules: tuple[str, ...]
    network_modules: tuple[str, ...] = ()
    form: Literal["dotted", "native"] = "dotted"
    prefix: str = "diffusion_model"
    strip: str = ""
    fused: Fused = ()

    @property
    def names(self) -> Names:
        """Its layers."""
        return _names(self.modules, self.fused, self.strip)


@cache
def _names(modules: tuple[str, ...], fused: Fused, strip: str) -> Names:
    """Models of one family share their layers."""
    return Names(modules, fused, strip)


def candidates(adapter: Adapter, models: Iterable[Model]) -> tuple[Model, ...]:
    """Return the models that have all the file's layers; of several, those that its metadata speaks of."""
    fitting = [model for model in models if model.modules and not unknown(adapter, model.names)]
    for says in (_says_architecture, _says_network):
        told = [model for model in fitting if says(adapter.file.metadata, model)]
        fitting = told or fitting
    return tuple(fitting)


def unknown(adapter: Adapter, names: Names) -> list[str]:
    """Return the file's modules that the model has no layer for."""
    underscored = adapter.form == "native"
    return [name for name in adapter.modules if not names.resolve(name, underscored=underscored)]


def find_model(adapter: Adapter, models: Iterable[Model]) -> Model:
    """Return a model that the file belongs to; of several that are converted alike, any.

    Raises:
        RequestError: its layers are no model's, or models that are converted differently fit.
    """
    every = tuple(models)
    fitting = candidates(adapter, every)
    if not fitting:
        raise RequestError(
            f"{adapter.path} fits no model that musabi knows: {_nearest(adapter, every)}. "
            "If you know it, name it with --model."
        )
    if len({_result(adapter, model) for model in fitting}) > 1:
        raise RequestError(
            f"{adapter.path} may be a LoRA of {' or '.join(titles(fitting))}: the names of its layers fit them all. "
            f"Say which with --model {fitting[0].name}"
        )
    return fitting[0]


def does_not_fit(adapter: Adapter, left: list[str], title: str) -> RequestError:
    """Return the error that names the layers which a model does not have."""
    count = len(adapter.modules)
    said = (
        "none of its layers is one" if len(left) >= count else f"{len(left)} of its {count} layers are none"
    )
    return RequestError(
        f"{adapter.path} does not fit {title}: {said} that musabi knows there ({named(left)}). "
        "Say which model it is for with --model."
    )


def _result(adapter: Adapter, model: Model) -> tuple[object, ...]:
    """Return what tells one conversion of the file from another."""
    underscored = adapter.form == "native"
    layers = (model.names.resolve(name, underscored=underscored) for name in adapter.modules)
    return (model.form, model.prefix, model.strip, model.fused, *layers)


def titles(models: Iterable[Model]) -> list[str]:
    """Return the models' titles, each once."""
    return list(dict.fromkeys(model.title for model in models))


def _says_architecture(metadata: Mapping[str, str], model: Model) -> bool:
    return ARCHITECTURES.get(metadata.get("ss_base_model_version", "")) == model.architecture


def _says_network(metadata: Mapping[str, str], model: Model) -> bool:
    return metadata.get("ss_network_module", "").removeprefix("musubi_tuner.") in model.network_modules


def _nearest(adapter: Adapter, models: tuple[Model, ...]) -> str:
    """Return in words how far the file is from the model that has most of its layers."""
    left = {model.title: unknown(adapter, model.names) for model in models}
    title, missing = min(left.items(), key=lambda item: len(item[1]), default=("", list(adapter.modules)))
    if len(missing) == len(adapter.modules):
        return f"it has layers such as {named(missing)}"
    return f"nearest is {title}, which has no layer {named(missing)}"
