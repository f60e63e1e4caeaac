"""Names of the layers that a LoRA trains: as the model writes them, as the trainer does, and fused ones.

The model has dotted names (`layers.0.attention.to_out.0`). The trainer writes underscores for the dots
(`lora_unet_layers_0_attention_to_out_0`), so only the model's own templates tell which was which. Some
programs keep query, key and value in one layer; the table below says which layers those are here.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

NATIVE: Final = "lora_unet_"
"""What every key of the trainer begins with."""

NUMBER: Final = "#"
"""Stands for a number in a template, such as `layers.#.attention.to_q`."""

_QKV_OF_HUNYUAN = {
    f"double_blocks.#.{side}_attn.qkv": tuple(f"double_blocks.#.{side}_attn_{part}" for part in "qkv")
    for side in ("img", "txt")
}
_REST_OF_HUNYUAN = {
    f"double_blocks.#.{side}_{other}": (f"double_blocks.#.{side}_{own}",)
    for side in ("img", "txt")
    for other, own in (("mlp.0", "mlp.fc1"), ("mlp.2", "mlp.fc2"), ("mod.lin", "mod.linear"))
}
FUSED: Final[Mapping[str, tuple[str, ...]]] = {
    "layers.#.attention.qkv": tuple(f"layers.#.attention.to_{part}" for part in "qkv"),
    "layers.#.attention.out": ("layers.#.attention.to_out.0",),
    **_QKV_OF_HUNYUAN,
    **_REST_OF_HUNYUAN,
}
"""ComfyUI's own layers of Z-Image and HunyuanVideo 1.5, and the model's layers that lie in each, row by row."""

Fused = tuple[tuple[str, tuple[str, ...]], ...]


def native(name: str) -> str:
    """Return a layer's name as the trainer writes it."""
    return NATIVE + name.replace(".", "_")


def skeleton(name: str) -> str:
    """Return a layer's name with # for its block's number: `layers.3.ff.net.0` -> `layers.#.ff.net.0`."""
    return re.sub(r"(?<=[._])\d+(?=[._]|$)", NUMBER, name, count=1)


@dataclass(frozen=True)
class _Row:
    """A layer that a file may name, as patterns, and the model's layers that it stands for."""

    dotted: re.Pattern[str]
    underscored: re.Pattern[str]
    targets: tuple[str, ...]


class Names:
    """The layers of one model, from its templates. A layer's name has dots; # in a template is a number.

    `fused`: layers that ComfyUI keeps as one, each with the model's that lie in it from the first rows to the
    last. `strip`: what the model's names begin with and ComfyUI's don't.
    """

    def __init__(self, templates: Iterable[str], fused: Fused = (), strip: str = "") -> None:
        own = {template: (template,) for template in templates}
        joined = {one: parts for one, parts in (*FUSED.items(), *fused) if all(part in own for part in parts)}
        stripped = {one.removeprefix(strip): parts for one, parts in (joined | own).items()}
        self._strip = strip
        self._fused = [
            (_pattern(part), one, place, len(parts))
            for one, parts in fused
            for place, part in enumerate(parts)
        ]
        self._rows = [
            _Row(_pattern(one), _pattern(one.replace(".", "_")), parts)
            for one, parts in (joined | stripped | own).items()
        ]

    def comfyui(self, name: str) -> tuple[str, int, int]:
        """Return ComfyUI's name for one of the model's layers, which part of that layer it is, and of how many."""
        for pattern, one, place, count in self._fused:
            match = pattern.fullmatch(name)
            if match:
                return _filled(one, match.groups()).removeprefix(self._strip), place, count
        return name.removeprefix(self._strip), 0, 1

    def resolve(self, name: str, *, underscored: bool) -> tuple[str, ...]:
        """Return the model's layers that a file's module stands for; none where the model has no such layer.

        More than one: the module holds several layers fused, one below the other. `name` comes without
        prefix, with dots, or `underscored` as the trainer writes it.
        """
        for row in self._rows:
            match = (row.underscored if underscored else row.dotted).fullmatch(name)
            if match:
                return tuple(_filled(target, match.groups()) for target in row.targets)
        return ()


def _pattern(template: str) -> re.Pattern[str]:
    return re.compile(r"(\d+)".join(re.escape(part) for part in template.split(NUMBER)))


def _filled(template: str, numbers: tuple[str, ...]) -> str:
    rest = iter(numbers)
    return re.sub(NUMBER, lambda _: next(rest), template)
