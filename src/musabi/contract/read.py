"""Reads the surface of a trainer's package from its source."""

import tomllib
from pathlib import Path

from musabi.contract.dataset_schema import read_dataset_keys
from musabi.contract.follow import Reader
from musabi.contract.modules import Package
from musabi.contract.sources import commit_of, content_fingerprint, entry_files
from musabi.contract.surface import Surface
from musabi.errors import MachineError


def read_surface(package: Path) -> Surface:
    """Return what the scripts of the package (CHECKOUT/src/musubi_tuner) accept. Nothing of it is run.

    Raises:
        MachineError: it is not there, holds no scripts, or a file of it can't be read.
    """
    entries = entry_files(package)
    reader = Reader(Package(package))
    scripts = {file: script for file in entries if (script := reader.script(file)) is not None}
    if not scripts:
        raise MachineError(
            f"There is no script of musubi-tuner in {package}. Run musabi bootstrap to fetch it."
        )
    dataset = read_dataset_keys(reader)
    sources = tuple(sorted({*entries, *reader.package.modules}))
    checkout = package.parents[1]
    return Surface(
        version=_version(checkout),
        commit=commit_of(checkout),
        fingerprint=content_fingerprint(package, sources) or "",
        sources=sources,
        scripts=scripts,
        dataset=dataset,
    )


def _version(checkout: Path) -> str:
    try:
        project = tomllib.loads((checkout / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    except (OSError, KeyError, ValueError):
        return ""
    return str(project.get("version", ""))
