"""LoRA files from the trainer's names to those that ComfyUI reads, and back.

What the file adds to a layer, W x, stays the same. Of a LoRA, alpha / rank goes into the factors: then any
program reads it right, also one that knows no alpha. LoHa and LoKr keep alpha: ComfyUI reads it there.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from musabi.errors import RequestError
from musabi.lora.adapter import Adapter, named, read_adapter, require_only_layers
from musabi.lora.arrays import Made, Reader, number, write
from musabi.lora.factors import halves, times
from musabi.lora.fusing import fused_keys
from musabi.lora.layers import Layer, layers
from musabi.lora.models import Model, does_not_fit, unknown
from musabi.lora.names import native
from musabi.whole import replacing

_DOTTED: Final[Mapping[str, str]] = {"down": "lora_A.weight", "up": "lora_B.weight"}
_NATIVE: Final[Mapping[str, str]] = {"down": "lora_down.weight", "up": "lora_up.weight"}
"""How the keys of a LoRA's factors end. Those of LoHa and LoKr end with the part's name."""


@dataclass(frozen=True)
class Converted:
    """A file that was written: its number of layers, and what a person should know about it."""

    path: Path
    layers: int
    note: str | None = None


def to_comfyui(source: Path, target: Path, model: Model) -> Converted:
    """Write a LoRA as ComfyUI reads it for this model.

    Raises:
        RequestError: the file can't be read, is like that already, or has layers that the model does not.
    """
    adapter = _read(source, target)
    if model.form == "native":
        if adapter.form == "native":
            return _as_it_is(adapter, target, model)
        return _to_native(adapter, target, model, strict=True)
    if adapter.form == "dotted" and adapter.prefix == f"{model.prefix}.":
        raise RequestError(f"{source} has ComfyUI's keys already. Use it as it is.")
    with Reader(adapter.file) as reader:
        require_only_layers(adapter)
        found = layers(adapter, reader, model.names)
        left = [layer.name for layer in found if not layer.known]
        if left:
            raise does_not_fit(adapter, left, model.title)
        tensors: dict[str, Made] = {}
        for name, parts in _by_comfyuis_name(found, model).items():
            keys = fused_keys(adapter, reader, parts) if len(parts) > 1 else _dotted_keys(parts[0], reader)
            tensors |= {f"{model.prefix}.{name}.{ending}": made for ending, made in keys.items()}
        write(target, tensors, adapter.file.metadata)
    return Converted(target, len(found))


def to_native(source: Path, target: Path, model: Model | None = None) -> Converted:
    """Write a LoRA with the trainer's keys: to go on from, to merge into a model before training, to keep.

    alpha is the rank where the file has none. Dots become underscores, so no `model` is needed for that;
    with one, fused layers are taken apart, and layers that the model does not have are named in the note.

    Raises:
        RequestError: the file can't be read, has these keys already, or no layer of the model's.
    """
    return _to_native(_read(source, target), target, model, strict=False)


def _to_native(adapter: Adapter, target: Path, model: Model | None, *, strict: bool) -> Converted:
    with Reader(adapter.file) as reader:
        require_only_layers(adapter)
        found = layers(adapter, reader, model.names if model else None)
        left = [layer.name for layer in found if not layer.known] if model else []
        if model and left and (strict or len(left) == len(found)):
            raise does_not_fit(adapter, left, model.title)
        tensors: dict[str, Made] = {}
        for layer in found:
            tensors |= _native_keys(layer, reader)
        if tensors.keys() == adapter.file.entries.keys():
            raise RequestError(f"{adapter.path} has the trainer's keys already. Use it as it is.")
        write(target, tensors, adapter.file.metadata)
    note = f"Kept, though {model.title} trains no such layer: {named(left)}" if model and left else None
    return Converted(target, len(found), note)


def _read(source: Path, target: Path) -> Adapter:
    if target.resolve() == source.resolve():
        raise RequestError(f"{target} is the file to convert. Name another file to write.")
    return read_adapter(source)


def _as_it_is(adapter: Adapter, target: Path, model: Model) -> Converted:
    """Put the trained file there once more: a second name for it where the disk can, else a copy."""
    source = adapter.path
    if len(unknown(adapter, model.names)) == len(adapter.modules):
        raise does_not_fit(adapter, list(adapter.modules), model.title)
    done = Converted(target, len(adapter.modules), f"ComfyUI reads {model.title} as it was trained")
    if target.exists() and target.samefile(source):  # a rename between two names of one file does nothing
        return done
    with replacing(target, source.stat().st_mode & 0o777) as part:
        part.unlink()
        try:
            os.link(source, part)
        except OSError:
            with source.open("rb") as original, part.open("wb") as copy:
                while piece := original.read(1 << 22):
                    copy.write(piece)
    return done


def _by_comfyuis_name(found: list[Layer], model: Model) -> dict[str, list[Layer | None]]:
    """Return, for each of ComfyUI's layers, the model's that lie in it; None where the file has no such one."""
    named: dict[str, list[Layer | None]] = {}
    for layer in found:
        name, place, count = model.names.comfyui(layer.name)
        named.setdefault(name, [None] * count)[place] = layer
    return named


def _dotted_keys(layer: Layer | None, reader: Reader) -> dict[str, Made]:
    if layer is None:
        return {}
    if layer.kind != "LoRA":
        alpha = {} if layer.alpha is None else {"alpha": number(layer.alpha, layer.alpha_dtype)}
        return {part: layer.parts[part].made(reader) for part in layer.parts} | alpha
    factors = dict(zip(("down", "up"), halves(layer.scale), strict=True))
    return {_DOTTED[part]: _times(layer, part, reader, factor) for part, factor in factors.items()}


def _times(layer: Layer, part: str, reader: Reader, factor: float) -> Made:
    chosen = layer.parts[part]
    return Made(chosen.dtype, chosen.shape, lambda: times(chosen.read(reader), factor))


def _native_keys(layer: Layer, reader: Reader) -> dict[str, Made]:
    name = native(layer.name)
    made = {f"{name}.{_NATIVE.get(part, part)}": layer.parts[part].made(reader) for part in layer.parts}
    alpha = layer.rank if layer.alpha is None else layer.alpha
    return made if alpha is None else made | {f"{name}.alpha": number(alpha, layer.alpha_dtype)}
