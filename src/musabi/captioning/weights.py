"""Where a captioning model lies on this machine, and whether it is whole and of the right kind."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from musabi.captioning.models import MODELS, CaptioningModel
from musabi.errors import MachineError, RequestError
from musabi.hub.listing import gigabytes
from musabi.hub.weights import hub_cache
from musabi.whole import is_whole_safetensors, read_json

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"


@dataclass(frozen=True)
class ModelFiles:
    """A model that is here: its folder or single file, the folder with its processor, its weights in bytes."""

    model: Path
    processor: Path
    size: int


def find_model(row: CaptioningModel, given: Path | None, environment: Mapping[str, str]) -> ModelFiles:
    """Return the files of a model: those that CAPTION_MODEL_PATH names, else those in the hub cache.

    Raises:
        RequestError: what is named is not there, or is another kind of model, or a broken one.
        MachineError: the model was not fetched yet, or not to its end.
    """
    if given is None:
        folder = in_hub_cache(row, environment)
        wrong = None if folder is None else why_not(folder, row)
        if folder is None or wrong:
            raise MachineError(_not_here(row, environment, folder, wrong or ""))
        return ModelFiles(folder, folder, _size(folder))
    if given.is_file():
        return _single(row, given, environment)
    wrong = why_not(given, row)
    if wrong:
        raise RequestError(
            f"CAPTION_MODEL_PATH {given} {wrong}. Name a folder with {row.title} or a model of its kind, or "
            "unset it."
        )
    return ModelFiles(given, given, _size(given))


def family_of(given: Path) -> CaptioningModel | None:
    """Return the row whose kind the model in the folder `given` is, if one is."""
    config = read_json(given / "config.json") if given.is_dir() else None
    kind = config.get("model_type") if isinstance(config, dict) else None
    return next((row for row in MODELS if row.family == kind), None)


def in_hub_cache(row: CaptioningModel, environment: Mapping[str, str]) -> Path | None:
    """Return the model's folder in the hub cache: models--OWNER--NAME/snapshots/COMMIT, as refs/ says."""
    repo = hub_cache(dict(environment)) / f"models--{row.repo.replace('/', '--')}"
    try:
        commit = (repo / "refs" / row.revision).read_text(encoding="utf-8").strip()
    except OSError:
        return None
    folder = repo / "snapshots" / commit
    return folder if folder.is_dir() else None


def why_not(folder: Path, row: CaptioningModel) -> str | None:
    """Say why a folder is no whole model of the row's kind, or None where it is one."""
    if not folder.is_dir():
        return "is not there"
    wrong = _why_no_processor(folder, row)
    if wrong:
        return wrong
    weights = weight_files(folder)
    if not weights:
        return f"holds no {SINGLE}"
    broken = [file.name for file in weights if not is_whole_safetensors(file)]
    return f"is not whole: {', '.join(broken[:3])} is missing or cut off" if broken else None


def _why_no_processor(folder: Path, row: CaptioningModel) -> str | None:
    config = read_json(folder / "config.json")
    if not isinstance(config, dict):
        return "holds no config.json"
    if config.get("model_type") != row.family:
        return f"holds a model of the kind {config.get('model_type')}, and {row.name} is of {row.family}"
    return None if (folder / "tokenizer_config.json").is_file() else "holds no tokenizer_config.json"


def weight_files(folder: Path) -> tuple[Path, ...]:
    """Return the weights of a model's folder as its index names them, whether they are there or not."""
    index = read_json(folder / INDEX)
    if isinstance(index, dict):
        return tuple(folder / name for name in sorted(set(index.get("weight_map", {}).values())))
    return (folder / SINGLE,) if (folder / SINGLE).is_file() else ()


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in weight_files(folder))


def _single(row: CaptioningModel, given: Path, environment: Mapping[str, str]) -> ModelFiles:
    if not row.single_file:
        raise RequestError(
            f"CAPTION_MODEL_PATH {given} is a file, and {row.title} comes as a folder. Name the folder."
        )
    if not is_whole_safetensors(given):
        raise RequestError(f"CAPTION_MODEL_PATH {given} is no whole safetensors file. Fetch it again.")
    processor = in_hub_cache(row, environment)
    if processor is None or _why_no_processor(processor, row):
        raise MachineError(
            f"What prepares the inputs of {given.name} is not here. Fetch it, a few MB: "
            f'musabi models download {row.repo} --include "*.json" --include "*.txt"'
        )
    return ModelFiles(given, processor, given.stat().st_size)


def _not_here(row: CaptioningModel, environment: Mapping[str, str], folder: Path | None, wrong: str) -> str:
    cache = hub_cache(dict(environment))
    what = (
        f"{row.title} is not in the hub cache {cache}"
        if folder is None
        else f"{row.title} in {folder} {wrong}"
    )
    return (
        f"{what}. Fetch it, about {gigabytes(row.size)}: musabi models download {row.repo} (or add --fetch)."
    )


def fetch_model(
    row: CaptioningModel,
    environment: Mapping[str, str],
    max_workers: int,
    say: Callable[[str], None],
    cancel: threading.Event | None = None,
) -> None:
    """Fetch a model into the hub cache; what is there already is not fetched again.

    Raises:
        MachineError: the disk is too small, or the hub refused or can't be reached.
        Cancelled: `cancel` was set.
    """
    from musabi.hub.access import Access
    from musabi.hub.download import DownloadRequest, download

    say(f"Fetching {row.title}, about {gigabytes(row.size)}")
    request = DownloadRequest(
        repo=row.repo, include=row.include, revision=row.revision, max_workers=max_workers
    )
    download(request, Access(environment=environment, max_workers=max_workers), say=say, cancel=cancel)
