"""Where things come from and go to, as people write it: hf:USER/REPO, s3://BUCKET/PREFIX, or a folder."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from musabi.errors import RequestError

# huggingface.co allows 96 letters (huggingface_hub 2.4, utils/_validators.py).
_REPO = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9_][\w.-]{0,95}", re.ASCII)
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]", re.ASCII)
ANY_RUN = {"name": "NAME", "run": "RUN"}
"""What stands for a run's output name and id while it is not known yet."""
_FILL = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True)
class HubPlace:
    """A repo on the hub."""

    repo: str
    repo_type: Literal["model", "dataset"] = "model"

    def __str__(self) -> str:
        return f"hf:{'dataset/' if self.repo_type == 'dataset' else ''}{self.repo}"


@dataclass(frozen=True)
class S3Place:
    """A bucket and the beginning of the keys in it, without a slash at either end ("" for none)."""

    bucket: str
    prefix: str

    def key(self, name: str) -> str:
        return f"{self.prefix}/{name}" if self.prefix else name

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")


@dataclass(frozen=True)
class FolderPlace:
    """A folder of this machine."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)


Place = HubPlace | S3Place | FolderPlace


def parse_destination(text: str, fill: Mapping[str, str] = ANY_RUN) -> Place:
    """Return the place that `text` names; `{name}` and `{run}` in it stand for the values of `fill`.

    Raises:
        RequestError: it can't be right.
    """
    filled = _FILL.sub(lambda match: _filled(match[1], fill, text), text.strip())
    if filled.startswith("hf:"):
        return hub_place(filled)
    if filled.startswith("s3:"):
        return s3_place(filled)
    if not filled or re.match(r"[a-z][a-z0-9+.-]*:", filled, re.IGNORECASE):
        raise RequestError(
            f'"{text}" is no destination. Write hf:USER/REPO, s3://BUCKET/PREFIX or the path of a folder.'
        )
    return FolderPlace(Path(filled).expanduser().absolute())


def hub_place(text: str) -> HubPlace:
    """Return the repo that hf:USER/REPO or hf:dataset/USER/REPO names.

    Raises:
        RequestError: it names none.
    """
    repo = text.removeprefix("hf:").strip("/")
    kind: Literal["model", "dataset"] = "model"
    for start in ("dataset/", "datasets/"):
        if repo.startswith(start) and repo.count("/") == 2:
            repo, kind = repo.removeprefix(start), "dataset"
    wrong = "--" in repo or ".." in repo or repo.endswith((".", "-", ".git"))
    if not _REPO.fullmatch(repo) or wrong:
        raise RequestError(
            f'"{text}" names no repo. Write hf:USER/REPO: letters, digits, dots, dashes and underscores, no '
            "spaces, and one slash."
        )
    return HubPlace(repo, kind)


def s3_place(text: str) -> S3Place:
    """Return the bucket and prefix that s3://BUCKET/PREFIX names.

    Raises:
        RequestError: it names none.
    """
    found = re.fullmatch(r"s3://([^/]+)(?:/(.*))?", text, re.DOTALL)
    if found is None or not _BUCKET.fullmatch(found[1]):
        raise RequestError(f'"{text}" names no bucket. Write s3://BUCKET/PREFIX.')
    prefix = (found[2] or "").strip("/")
    if any(part in ("", ".", "..") for part in prefix.split("/") if prefix) or not prefix.isprintable():
        raise RequestError(
            f'"{text}" has an empty part, a dot part or odd letters in it. Write s3://BUCKET/PREFIX.'
        )
    return S3Place(found[1], prefix)


def _filled(name: str, fill: Mapping[str, str], text: str) -> str:
    if name not in fill:
        known = " or ".join(f"{{{one}}}" for one in fill)
        raise RequestError(f'"{text}" holds {{{name}}}, but only {known} can stand there.')
    return fill[name]
