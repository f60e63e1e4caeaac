"""Fetching what a model needs: what is asked for, what is here, and the transfer itself."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import typer

from musabi.errors import ExitCode
from musabi.hub.access import Access
from musabi.hub.listing import list_files
from musabi.hub.weights import Places, hub_cache, hub_cache_of, tokenizer_name, wanted_sets
from musabi.recipes import load
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


def as_the_recipe_says(model: str) -> list[str]:
    """Return a line for each set of weights: about how large it is, and its files."""
    weights = load(model).weights
    return [
        f"{one.gigabytes:6.1f} GB  {role}: {one.repo}: {', '.join(one.files)}"
        for role, one in weights.items()
    ]


def missing_tokenizer_sets(settings: Settings, model: str) -> list[str]:
    """Return the names of the model's sets of tokenizer files that are not in the hub cache."""
    from musabi.engines.musubi.environment import missing_tokenizer

    recipe = load(model)
    cache = hub_cache_of(settings.hf_home)
    return [
        tokenizer_name(number)
        for number, one in enumerate(recipe.tokenizers, start=1)
        if missing_tokenizer(one, cache, model)
    ]


def fetch_model(settings: Settings, model: str, *, only: tuple[str, ...] = (), as_json: bool = False) -> None:
    """Fetch what is missing of a model's files, with everything that the bootstrap knows about transfers.

    `only` names the sets of files, such as vae; all where it is empty.

    Raises:
        typer.Exit: it failed; what and why was said.
    """
    from musabi.commands.machine import bootstrap_options
    from musabi.pod.bootstrap.run import bootstrap

    options = bootstrap_options(settings.model_copy(update={"model": model, "skip_model_download": False}))
    code = bootstrap(replace(options, only=only), profile="weights", json=as_json, weights=True)
    if code != ExitCode.DONE:
        raise typer.Exit(int(code))
