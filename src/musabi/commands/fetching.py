"""Fetching what a model needs: what is asked for, what is here, and the transfer itself."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import typer

from musabi.errors import ExitCode
from musabi.hub.access import Access
from musabi.hub.listing import list_files
from musabi.hub.weights import Places, hub_cache, wanted_sets
from musabi.settings import Settings


@dataclass(frozen=True)
class FileToFetch:
    """One file of a model: where it comes from, its size in bytes, where it goes, whether it is there."""

    repo: str
    path: str
    size: int
    place: Path
    here: bool

    def as_json(self) -> dict[str, Any]:
        """Return the row as values that JSON can hold."""
        return asdict(self) | {"place": str(self.place)}


def what_to_fetch(settings: Settings, access: Access, model: str) -> list[FileToFetch]:
    """Ask the hub for every file that a model needs. Files are taken for the same by their size.

    Raises:
        HubError: the hub refused or could not be reached.
    """
    places = Places(settings.space.models, hub_cache(dict(access.environment)))
    rows = []
    for wanted in wanted_sets(model):
        listing = list_files(wanted, access)
        for file in listing.files:
            final = places.final(wanted, file.path, listing.commit)
            here = final.is_file() and final.stat().st_size == file.size
            rows.append(FileToFetch(wanted.repo, file.path, file.size, final, here))
    return rows


def fetch_model(settings: Settings, model: str, *, as_json: bool = False) -> None:
    """Fetch what is missing of a model's files, with everything that the bootstrap knows about transfers.

    Raises:
        typer.Exit: it failed; what and why was said.
    """
    from musabi.commands.machine import bootstrap_options
    from musabi.pod.bootstrap.run import bootstrap

    options = bootstrap_options(settings.model_copy(update={"model": model, "skip_model_download": False}))
    code = bootstrap(options, profile="weights", json=as_json, weights=True)
    if code != ExitCode.DONE:
        raise typer.Exit(int(code))
