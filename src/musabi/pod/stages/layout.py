"""The workspace's folders, the wrappers in `scripts/`, and the templates that are copied once."""

from pathlib import Path
from typing import Any

from musabi.dataset.templates import dataset_toml
from musabi.errors import MachineError
from musabi.pod.stage import Context, Facts, Proof, Stage, Work
from musabi.whole import write_text

WRAPPERS = (
    "bootstrap.sh",
    "download_models.sh",
    "prepare_dataset.sh",
    "train_lora_prodigy.sh",
    "train_lora_adamw8bit.sh",
    "convert_lora.sh",
    "start_tensorboard.sh",
)
# Template in the source, and its place in the workspace.
TEMPLATE_PLACES = (
    ("dataset.toml.example", Path("dataset/dataset.toml")),
    ("sample_prompts.txt", Path("dataset/sample_prompts.txt")),
)


def _make_folders(work: Work) -> Facts:
    for folder in work.options.space.folders:
        folder.mkdir(parents=True, exist_ok=True)
    return {}


def _folders_there(context: Context, _facts: Facts) -> Proof:
    return Proof(all(folder.is_dir() for folder in context.options.space.folders))


def _sources(context: Context) -> dict[str, str]:
    root = context.options.source_root
    return {name: str(root / name) for name in WRAPPERS if (root / name).is_file()}


def _link_scripts(work: Work) -> Facts:
    sources = _sources(work.context)
    for name, source in sources.items():
        _link(Path(source), work.options.space.root / "scripts" / name)
    if not sources:
        work.say("no wrappers beside this package; use the musabi command")
    return {"scripts": sources}


def _link(source: Path, place: Path) -> None:
    """Link a wrapper; where the volume knows no links, write a script that hands over."""
    part = place.with_name(f".{place.name}.part")
    part.unlink(missing_ok=True)
    try:
        part.symlink_to(source)
        part.replace(place)
    except OSError:
        write_text(place, f'#!/bin/sh\nexec "{source}" "$@"\n', mode=0o755)


def _scripts_there(context: Context, facts: Facts) -> Proof:
    folder = context.options.space.root / "scripts"
    return Proof(all((folder / name).exists() for name in facts.get("scripts", {})))


def _copy_templates(work: Work) -> Facts:
    for name, place in TEMPLATE_PLACES:
        source, target = work.options.source_root / name, work.options.workspace / place
        if target.exists():
            continue
        if not source.is_file():
            raise MachineError(f"{source} is missing. Install musabi again from a whole checkout.")
        text = source.read_text(encoding="utf-8")
        write_text(target, dataset_toml(text, work.options.space) if source.suffix == ".example" else text)
    return {}


def _templates_there(context: Context, _facts: Facts) -> Proof:
    return Proof(all((context.options.workspace / place).exists() for _, place in TEMPLATE_PLACES))


def _nothing(_context: Context) -> Any:  # noqa: ANN401 - any JSON value
    return None


LAYOUT = Stage("layout", (), "volume", _nothing, _folders_there, _make_folders)
SCRIPTS = Stage("scripts", ("layout",), "volume", _sources, _scripts_there, _link_scripts)
TEMPLATES = Stage("templates", ("layout",), "volume", _nothing, _templates_there, _copy_templates)
