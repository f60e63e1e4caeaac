"""The weights that a model needs: which files of which repo (its recipe says so) belong where."""

import os
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from musabi.recipes import load
from musabi.recipes.recipe import Tokenizer


@dataclass(frozen=True)
class Wanted:
    """Some files of one repo and the place they belong to.

    `patterns` are paths or globs in the repo. `folder` is a folder under `models/` that the files lie in
    by their bare names; None puts them into the Hugging Face cache, under their own paths, where the
    trainer finds them offline.
    """

    name: str
    repo: str
    patterns: tuple[str, ...]
    folder: str | None
    revision: str = "main"

    def wants(self, path: str) -> bool:
        """Tell whether the file at `path` in the repo is one of these."""
        return any(fnmatchcase(path, pattern) for pattern in self.patterns)


# Caching waits for none of these, so they come last.
LATE = ("dit", "dit_high_noise", "unconditional_dit", "adapter")


def wanted_sets(model: str = "z-image", only: tuple[str, ...] = ()) -> tuple[Wanted, ...]:
    """Return the sets of files that a model's recipe names, in the order they are fetched: small ones first.

    `only` names some of them; all where it is empty.
    """
    recipe = load(model)
    tokenizers = (
        Wanted(tokenizer_name(number), one.repo, _patterns(one), None)
        for number, one in enumerate(recipe.tokenizers, start=1)
    )
    weights = sorted(recipe.weights.items(), key=lambda entry: (entry[0] in LATE, entry[1].gigabytes))
    every = (
        *tokenizers,
        *(Wanted(role, one.repo, one.files, one.folder, one.revision) for role, one in weights),
    )
    return tuple(wanted for wanted in every if not only or wanted.name in only)


def tokenizer_name(number: int) -> str:
    """Return the name of a model's first, second ... set of tokenizer files."""
    return "tokenizer" if number == 1 else f"tokenizer{number}"


def _patterns(tokenizer: Tokenizer) -> tuple[str, ...]:
    """Return what is fetched of a tokenizer: its whole folder, or the named files of a repo's root."""
    return (f"{tokenizer.folder}/*",) if tokenizer.folder else tokenizer.files + tokenizer.also


@dataclass(frozen=True)
class Places:
    """Where weights go: the workspace's `models` folder and the hub cache of HF_HOME."""

    models: Path
    hub_cache: Path

    def repo_cache(self, wanted: Wanted) -> Path:
        """Return the repo's folder in the hub cache, in the layout of huggingface_hub."""
        return self.hub_cache / f"models--{wanted.repo.replace('/', '--')}"

    def final(self, wanted: Wanted, path: str, commit: str) -> Path:
        """Return the final name of the file at `path` of the repo at `commit`."""
        if wanted.folder is not None:
            return self.models / wanted.folder / PurePosixPath(path).name
        return self.repo_cache(wanted) / "snapshots" / commit / path

    def staging(self, wanted: Wanted) -> Path:
        """Return the folder that unfinished files lie in, on the filesystem of the final names."""
        root = self.models if wanted.folder is not None else self.hub_cache
        return root / ".musabi-staging" / wanted.name

    def ref(self, wanted: Wanted) -> Path | None:
        """Return the file that names the cached commit; a cache without it is not read offline."""
        return None if wanted.folder is not None else self.repo_cache(wanted) / "refs" / wanted.revision


def hub_cache_of(hf_home: Path) -> Path:
    """Return the hub cache of this process's environment with that HF_HOME."""
    return hub_cache(dict(os.environ) | {"HF_HOME": str(hf_home)})


def hub_cache(environment: dict[str, str]) -> Path:
    """Return the hub cache that an environment points at, by huggingface_hub's own rules."""
    named = environment.get("HF_HUB_CACHE") or environment.get("HUGGINGFACE_HUB_CACHE")
    if named:
        return Path(named).expanduser()
    home = environment.get("HF_HOME")
    if home:
        return Path(home).expanduser() / "hub"
    base = environment.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "huggingface" / "hub"
