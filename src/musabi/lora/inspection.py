"""What a LoRA file is: its model, kind, rank, the size of what it adds, and how it was trained."""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from musabi.lora.adapter import Adapter, named, read_adapter
from musabi.lora.arrays import Reader
from musabi.lora.factors import norm
from musabi.lora.layers import Layer, layers
from musabi.lora.models import Model, candidates, titles
from musabi.lora.names import skeleton

TRAINING: Final[Mapping[str, str]] = {
    "base model": "ss_sd_model_name",
    "network module": "ss_network_module",
    "network arguments": "ss_network_args",
    "learning rate": "ss_learning_rate",
    "optimizer": "ss_optimizer",
    "lr scheduler": "ss_lr_scheduler",
    "steps": "ss_steps",
    "max steps": "ss_max_train_steps",
    "epoch": "ss_epoch",
    "epochs": "ss_num_epochs",
    "seed": "ss_seed",
    "images and videos": "ss_num_train_items",
    "timestep sampling": "ss_timestep_sampling",
    "flow shift": "ss_discrete_flow_shift",
    "comment": "ss_training_comment",
}
"""What is shown of how a LoRA was trained, and the metadata that says it (musubi-tuner v0.3.4)."""

TRIGGER: Final = ("modelspec.trigger_phrase", "ss_trigger_word", "trigger_word", "modelspec.usage_hint")

TRIGGER_COMMENT: Final = "trigger word: "
"""What a training comment begins with that says the trigger word: the trainer has no field for it."""


@dataclass(frozen=True)
class Group:
    """Layers of one name: how many, and the mean and the largest norm of what they add."""

    name: str
    layers: int
    mean: float
    largest: float


@dataclass(frozen=True)
class Dataset:
    """One dataset that the LoRA was trained on, as the trainer wrote it down."""

    folder: str | None
    resolution: list[int] | None
    batch_size: int | None
    repeats: int | None


@dataclass(frozen=True)
class Facts:
    """Everything that is known of a LoRA file.

    `norm_*` are Frobenius norms of scale x up x down. `others` are keys that are part of no layer.
    """

    path: Path
    bytes: int
    form: str
    prefix: str
    models: tuple[str, ...]
    titles: tuple[str, ...]
    kinds: tuple[str, ...]
    ranks: tuple[int, ...]
    alphas: tuple[float, ...]
    dtypes: tuple[str, ...]
    layers: int
    groups: tuple[Group, ...]
    norm_mean: float
    norm_largest: float
    largest_layer: str
    zero_layers: tuple[str, ...]
    broken_layers: tuple[str, ...]
    others: tuple[str, ...]
    trigger: str | None
    training: dict[str, str]
    datasets: tuple[Dataset, ...]

    def as_json(self) -> dict[str, Any]:
        """Return the facts as values for JSON; a norm that is no number is null."""
        return {key: _plain(value) for key, value in asdict(self).items()}


def inspect(path: Path, models: Iterable[Model]) -> Facts:
    """Return what a LoRA file is.

    Raises:
        RequestError: it can't be read or holds no LoRA.
    """
    adapter = read_adapter(path)
    fitting = candidates(adapter, models)
    with Reader(adapter.file) as reader:
        found = layers(adapter, reader, fitting[0].names if fitting else None)
        norms = {layer.name: norm(layer, reader) for layer in found}
    sizes = {name: size for name, size in norms.items() if math.isfinite(size)}
    largest = max(sizes, key=lambda name: sizes[name], default="")
    metadata = adapter.file.metadata
    return Facts(
        path=path,
        bytes=path.stat().st_size,
        form=adapter.form,
        prefix=adapter.prefix,
        models=tuple(model.name for model in fitting),
        titles=tuple(titles(fitting)),
        kinds=adapter.kinds,
        ranks=tuple(sorted({layer.rank for layer in found if layer.rank})),
        alphas=tuple(sorted({layer.alpha for layer in found if layer.alpha is not None})),
        dtypes=_dtypes(adapter, found),
        layers=len(found),
        groups=tuple(_groups(norms)),
        norm_mean=_mean(sizes.values()),
        norm_largest=sizes.get(largest, 0.0),
        largest_layer=largest,
        zero_layers=tuple(name for name, size in norms.items() if size == 0),
        broken_layers=tuple(name for name in norms if name not in sizes),
        others=adapter.others,
        trigger=_trigger(metadata),
        training={said: metadata[key] for said, key in TRAINING.items() if _said(metadata.get(key))},
        datasets=tuple(_datasets(metadata.get("ss_datasets"))),
    )


def as_text(facts: Facts) -> str:
    """Return the facts for a person to read."""
    form = (
        "as the trainer writes them"
        if facts.form == "native"
        else f"dotted, under {facts.prefix or 'no prefix'}"
    )
    rows = {
        "model": " or ".join(facts.titles) or "none that musabi knows by its layers' names",
        "kind": _kind(facts),
        "keys": form,
        "numbers": f"{', '.join(facts.dtypes)}, {facts.bytes / 1e6:,.1f} MB",
        "layers": str(facts.layers),
        "adds": f"norm {facts.norm_mean:.4g} on average, {facts.norm_largest:.4g} at most ({facts.largest_layer})",
        **({"trigger": facts.trigger} if facts.trigger else {}),
        **facts.training,
    }
    rows |= {f"dataset {n}": _dataset_words(dataset) for n, dataset in enumerate(facts.datasets, 1)}
    width = max(map(len, rows))
    lines = [str(facts.path), *(f"  {name:<{width}}  {value}" for name, value in rows.items()), ""]
    wide = max(len(group.name) for group in facts.groups)
    lines += [
        f"  {group.name:<{wide}}  {group.layers:4d} layers  mean {group.mean:.4g}  largest {group.largest:.4g}"
        for group in facts.groups
    ]
    for names, said in (
        (facts.zero_layers, "add nothing"),
        (facts.broken_layers, "hold NaN or infinite numbers"),
    ):
        if names:
            lines.append(f"Warning: {len(names)} of {facts.layers} layers {said}: {named(names)}")
    if facts.others:
        lines.append(f"Warning: it also holds what is part of no layer: {named(facts.others)}")
    return "\n".join(lines)


def _kind(facts: Facts) -> str:
    ranks = ", ".join(map(str, facts.ranks))
    alphas = ", ".join(f"{alpha:g}" for alpha in facts.alphas)
    return (
        " and ".join(facts.kinds)
        + (f", rank {ranks}" if ranks else "")
        + (f", alpha {alphas}" if alphas else "")
    )


def _dtypes(adapter: Adapter, found: list[Layer]) -> tuple[str, ...]:
    kinds = {part.dtype for layer in found for part in layer.parts.values()}
    return tuple(sorted(kind.lower() for kind in kinds))


def _groups(norms: Mapping[str, float]) -> Iterable[Group]:
    grouped: dict[str, list[float]] = {}
    for name, size in norms.items():
        grouped.setdefault(skeleton(name), []).append(size)
    for name, sizes in grouped.items():
        whole = [size for size in sizes if math.isfinite(size)]
        yield Group(name, len(sizes), _mean(whole), max(whole, default=0.0))


def _trigger(metadata: Mapping[str, str]) -> str | None:
    said = [metadata.get(key, "") for key in TRIGGER]
    comment = metadata.get("ss_training_comment", "")
    said += [comment.removeprefix(TRIGGER_COMMENT)] if comment.startswith(TRIGGER_COMMENT) else []
    return next((word for word in said if word), None)


def _mean(sizes: Iterable[float]) -> float:
    every = list(sizes)
    return math.fsum(every) / len(every) if every else 0.0


def _said(value: str | None) -> bool:
    return value not in (None, "", "None")


def _datasets(text: str | None) -> Iterable[Dataset]:
    """Return the datasets from the trainer's own JSON; nothing where it is not that."""
    try:
        found = json.loads(text or "[]")
    except json.JSONDecodeError:
        return
    for values in found if isinstance(found, list) else ():
        if isinstance(values, dict):
            folder = next(
                (str(value) for key, value in values.items() if _names_a_place(key) and value), None
            )
            yield Dataset(
                folder,
                values.get("resolution"),
                values.get("batch_size_per_device"),
                values.get("num_repeats"),
            )


def _names_a_place(key: str) -> bool:
    return key.startswith(("image_", "video_")) and key.endswith(("_directory", "_jsonl_file"))


def _dataset_words(dataset: Dataset) -> str:
    size = "x".join(map(str, dataset.resolution)) if dataset.resolution else "unknown size"
    return f"{dataset.folder or 'unnamed'}, {size}, batch {dataset.batch_size}, repeats {dataset.repeats}"


def _plain(value: Any) -> Any:  # noqa: ANN401 - any value of Facts
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value
