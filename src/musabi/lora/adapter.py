"""A LoRA file, told from its header alone: its layers, their parts, whose names it has."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from musabi.errors import RequestError
from musabi.lora.names import NATIVE
from musabi.lora.tensor_file import TensorFile, read_header

Kind = Literal["LoRA", "LoHa", "LoKr"]
Form = Literal["native", "dotted"]
"""`native`: as the trainer writes it. `dotted`: the model's own names, as ComfyUI and diffusers read them."""

PREFIXES: Final = ("model.diffusion_model.", "diffusion_model.", "transformer.", "base_model.model.")
"""What dotted names may begin with, besides nothing at all."""

ALPHA: Final = "alpha"
PARTS: Final[Mapping[str, str]] = {
    "lora_down.weight": "down",
    "lora_up.weight": "up",
    "lora_A.weight": "down",
    "lora_B.weight": "up",
    "lora_A.default.weight": "down",
    "lora_B.default.weight": "up",
    "lora.down.weight": "down",
    "lora.up.weight": "up",
    "alpha": ALPHA,
    **{f"hada_w{n}_{side}": f"hada_w{n}_{side}" for n in "12" for side in "ab"},
    **{f"lokr_w{n}{side}": f"lokr_w{n}{side}" for n in "12" for side in ("", "_a", "_b")},
}
"""How a key ends, and which part of a layer that is."""

WHOLE: Final[tuple[tuple[Kind, frozenset[str]], ...]] = (
    ("LoRA", frozenset({"down", "up"})),
    ("LoHa", frozenset({"hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"})),
    ("LoKr", frozenset({"lokr_w1", "lokr_w2"})),
    ("LoKr", frozenset({"lokr_w1", "lokr_w2_a", "lokr_w2_b"})),
    ("LoKr", frozenset({"lokr_w1_a", "lokr_w1_b", "lokr_w2"})),
    ("LoKr", frozenset({"lokr_w1_a", "lokr_w1_b", "lokr_w2_a", "lokr_w2_b"})),
)
"""The parts, besides alpha, that make a layer of each kind."""


@dataclass(frozen=True)
class Module:
    """One layer of a LoRA: its kind, and the key of each of its parts."""

    kind: Kind
    keys: dict[str, str]


@dataclass(frozen=True)
class Adapter:
    """A LoRA file. `modules` by their names without `prefix`; `others` are keys that are part of no layer."""

    file: TensorFile
    form: Form
    prefix: str
    modules: dict[str, Module]
    others: tuple[str, ...]

    @property
    def path(self) -> Path:
        """Where the file is."""
        return self.file.path

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The kinds of its layers; more than one where they are mixed."""
        return tuple(sorted({module.kind for module in self.modules.values()}))


def read_adapter(path: Path) -> Adapter:
    """Return the LoRA that a file holds.

    Raises:
        RequestError: the file can't be read, holds no LoRA, mixes names, or a layer misses a part.
    """
    file = read_header(path)
    grouped: dict[str, dict[str, str]] = {}
    others = []
    for key in file.entries:
        name, part = _split(key)
        if part is None or part in grouped.get(name, {}):
            others.append(key)
        else:
            grouped.setdefault(name, {})[part] = key
    if not any(set(parts) != {ALPHA} for parts in grouped.values()):
        raise RequestError(
            f"{path} holds no LoRA: none of its keys ends in lora_down.weight, lora_A.weight, hada_w1_a or lokr_w1."
        )
    form, prefix = _form(path, list(grouped))
    modules = {name.removeprefix(prefix): _module(path, name, keys) for name, keys in grouped.items()}
    _require_fitting(file, modules)
    return Adapter(file, form, prefix, modules, tuple(others))


def require_only_layers(adapter: Adapter) -> None:
    """Raise a RequestError where the file holds tensors that are part of no layer: they would be lost."""
    if adapter.others:
        raise RequestError(
            f"{adapter.path} holds {named(adapter.others)} besides its layers, and musabi can't carry that over. "
            "Use the file as it is."
        )


def named(names: tuple[str, ...] | list[str], most: int = 3) -> str:
    """Return the first names, and how many more there are."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def _split(key: str) -> tuple[str, str | None]:
    for ending, part in PARTS.items():
        if key.endswith(f".{ending}"):
            return key[: -len(ending) - 1], part
    return key, None


def _form(path: Path, names: list[str]) -> tuple[Form, str]:
    found = {
        next((prefix for prefix in (NATIVE, *PREFIXES) if name.startswith(prefix)), "") for name in names
    }
    if len(found) > 1:
        kinds = " and ".join(sorted(f"{prefix}..." if prefix else "no prefix" for prefix in found))
        raise RequestError(f"{path} mixes keys of several kinds ({kinds}), so it can't be read as one LoRA.")
    prefix = found.pop()
    return ("native" if prefix == NATIVE else "dotted"), prefix


def _module(path: Path, name: str, keys: dict[str, str]) -> Module:
    parts = keys.keys() - {ALPHA}
    kind = next((kind for kind, whole in WHOLE if parts == whole), None)
    if kind is None:
        raise RequestError(
            f"In {path} the layer {name} has {named(sorted(keys))} only, which is no whole layer. "
            "Save or copy it again."
        )
    return Module(kind, keys)


_JOINED: Final = (
    ("down", "up"),
    ("hada_w1_b", "hada_w1_a"),
    ("hada_w2_b", "hada_w2_a"),
    ("lokr_w1_b", "lokr_w1_a"),
    ("lokr_w2_b", "lokr_w2_a"),
)
"""Parts that are multiplied: the sides that meet are the rank."""


def _require_fitting(file: TensorFile, modules: dict[str, Module]) -> None:
    """Raise a RequestError where the factors of a layer can't be multiplied: the rank is told by both."""
    for name, module in modules.items():
        for inner, outer in _JOINED:
            if inner not in module.keys:
                continue
            one, two = file.entries[module.keys[inner]].shape, file.entries[module.keys[outer]].shape
            if len(one) < 2 or len(two) < 2 or one[0] != two[1] or 0 in (*one, *two):
                raise RequestError(
                    f"In {file.path} the factors of the layer {name} don't fit each other "
                    f"({list(two)} and {list(one)}). Save or copy it again."
                )
