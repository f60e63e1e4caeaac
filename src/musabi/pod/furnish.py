"""The workspace's folders, the wrappers in `scripts/`, and the templates that are copied once.

The boot does this before JupyterLab starts, and the bootstrap as its first stages. So this imports little.
"""

from pathlib import Path

import musabi
from musabi.dataset.templates import dataset_toml
from musabi.errors import MachineError
from musabi.whole import write_text
from musabi.workspace import Workspace

WRAPPERS = (
    "bootstrap.sh",
    "download_models.sh",
    "prepare_dataset.sh",
    "train_lora_prodigy.sh",
    "train_lora_adamw8bit.sh",
    "convert_lora.sh",
    "start_tensorboard.sh",
)
HANDS_OVER = '#!/bin/sh\nexec "'
# Template in the source, and its place in the workspace.
TEMPLATE_PLACES = (
    ("dataset.toml.example", Path("dataset/dataset.toml")),
    ("sample_prompts.txt", Path("dataset/sample_prompts.txt")),
    ("notebooks/00_musubi_tuner_runpod.ipynb", Path("notebooks/00_musubi_tuner_runpod.ipynb")),
)


def source_root() -> Path:
    """Return the folder that holds the wrappers and templates: the checkout this package runs from."""
    return Path(musabi.__file__).resolve().parents[2]


def make_folders(space: Workspace) -> None:
    """Make the folders that a workspace always has."""
    for folder in space.folders:
        folder.mkdir(parents=True, exist_ok=True)


def wrappers(root: Path) -> dict[str, str]:
    """Return the wrappers that lie under `root`: their paths by name."""
    return {name: str(root / name) for name in WRAPPERS if (root / name).is_file()}


def link_scripts(root: Path, space: Workspace) -> dict[str, str]:
    """Link the wrappers into the workspace; return them."""
    sources = wrappers(root)
    for name, source in sources.items():
        place = space.root / "scripts" / name
        if _is_ours(place, source):
            _link(Path(source), place)
    return sources


def _is_ours(place: Path, source: str) -> bool:
    """Tell whether a wrapper is to be put there: nothing, another link, or a script that we wrote is in its place.

    A file that somebody wrote under that name stays.
    """
    if place.is_symlink():
        return str(place.readlink()) != source
    return not place.exists() or place.read_text(errors="replace").startswith(HANDS_OVER)


def copy_templates(root: Path, space: Workspace) -> None:
    """Copy each template that the workspace has not.

    Raises:
        MachineError: a template is missing in the source.
    """
    for name, place in TEMPLATE_PLACES:
        source, target = root / name, space.root / place
        if target.exists():
            continue
        if not source.is_file():
            raise MachineError(f"{source} is missing. Install musabi again from a whole checkout.")
        text = source.read_text(encoding="utf-8")
        write_text(target, dataset_toml(text, space) if source.suffix == ".example" else text)


def _link(source: Path, place: Path) -> None:
    """Link a wrapper; where the volume knows no links, write a script that hands over."""
    part = place.with_name(f".{place.name}.part")
    part.unlink(missing_ok=True)
    try:
        part.symlink_to(source)
        part.replace(place)
    except OSError:
        write_text(place, f'{HANDS_OVER}{source}" "$@"\n', mode=0o755)
