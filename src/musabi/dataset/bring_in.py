"""Brings images and captions from an address, the hub, S3, an archive or a folder into a dataset folder.

What is fetched lies in a hidden folder beside the dataset until all of it is there, so that a fetch that was
cut off goes on where it was.
"""

import contextlib
import hashlib
import shutil
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from musabi.dataset.config import ImageDataset
from musabi.dataset.incoming import WANTED, Brought, kind_of
from musabi.dataset.items import scan
from musabi.dataset.unpack import unpack, unpack_files
from musabi.errors import RequestError
from musabi.hub.access import Access
from musabi.hub.addresses import PrivateAddressError
from musabi.hub.destination import HubPlace, S3Place, hub_place, s3_place
from musabi.hub.download import DownloadRequest, download
from musabi.hub.listing import gigabytes
from musabi.hub.room import require_room
from musabi.hub.s3 import Bucket, Object, Told
from musabi.hub.web import Ways, download_url, forget

# Tables of rows, which hold their pictures inside: nothing here reads them.
NOT_FETCHED = ("*.parquet", "*.arrow", "*.git*")


@dataclass(frozen=True)
class Bringing:
    """How things are brought in. `environ` holds tokens and keys; `allow_private`: see `check_address`."""

    environ: Mapping[str, str] = field(repr=False)
    allow_private: bool = False
    say: Callable[[str], None] = lambda _text: None
    cancel: threading.Event = field(default_factory=threading.Event)
    ways: Ways | None = None


def bring_in(source: str, target: Path, how: Bringing) -> Brought:
    """Bring what `source` names into the folder `target`, and nothing over a file that is there.

    `source`: https://..., hf:dataset/USER/REPO, s3://BUCKET/PREFIX or /FILE.zip, or a path of this machine.

    Raises:
        RequestError: the source can't be right, or holds nothing for a dataset.
        MachineError: the network failed, or the disk has too little room.
        OSError: the folder can't be written.
    """
    if source.startswith(("https://", "http://")):
        return _from_web(source, target, how)
    if source.startswith("hf:"):
        return _from_hub(hub_place(source), target, how)
    if source.startswith("s3:"):
        return _from_s3(s3_place(source), target, how)
    if "://" in source:
        raise RequestError(
            f'musabi can\'t fetch from "{source.partition("://")[0]}://". Use https://, hf:dataset/USER/REPO, '
            "s3://BUCKET/PREFIX, a zip or a folder."
        )
    return unpack(Path(source).expanduser(), target, say=how.say)


def counted(folder: Path) -> tuple[int, int]:
    """Return how many images of a folder have a caption (.txt) and can be read, and how many have none."""
    found = scan(ImageDataset(folder, folder))
    return len(found.items), len(found.without_caption)


def downloads(target: Path, source: str) -> Path:
    """Return the folder that unfinished downloads of a source lie in: hidden, beside the dataset folder."""
    return target.parent / f".{target.name}.downloads" / hashlib.sha256(source.encode()).hexdigest()[:16]


def _from_web(url: str, target: Path, how: Bringing) -> Brought:
    folder = downloads(target, url)
    ways = how.ways or Ways(how.allow_private, say=how.say, cancel=how.cancel)
    try:
        found = download_url(url, folder, ways)
    except PrivateAddressError as problem:
        raise RequestError(f"{problem} If you mean it, add --allow-private.") from None
    try:
        brought = unpack_files([(found.name, found.path)], target, say=how.say)
    except RequestError:
        _clear(folder)  # it is whole, and another try would find the same
        raise
    forget(found)
    _clear(folder)
    return brought


def _from_hub(place: HubPlace, target: Path, how: Bringing) -> Brought:
    folder = downloads(target, str(place))
    request = DownloadRequest(
        place.repo, exclude=NOT_FETCHED, repo_type="dataset", local_dir=folder / "repo", max_workers=8
    )
    download(request, Access(how.environ, max_workers=8), say=how.say, cancel=how.cancel)
    brought = unpack(folder / "repo", target, say=how.say)
    _clear(folder)
    return brought


def _from_s3(place: S3Place, target: Path, how: Bringing) -> Brought:
    folder = downloads(target, str(place))
    bucket = Bucket(place.bucket, how.environ, unsigned=True)
    objects = _objects(bucket, place)
    missing = [one for one in objects if not _is_here(one, folder)]
    require_room(folder, sum(one.size for one in missing))
    folder.mkdir(parents=True, exist_ok=True)
    if missing:
        how.say(f"fetching {gigabytes(sum(one.size for one in missing))} in {len(missing)} files")
    for one in missing:
        bucket.get(one.key, _place(one, folder), Told(one.key, one.size, how.say))
    files = [(_inner(one, place), _place(one, folder)) for one in objects]
    brought = unpack_files(files, target, say=how.say)
    _clear(folder)
    return brought


def _objects(bucket: Bucket, place: S3Place) -> list[Object]:
    """Return the one object that the place names, or those below it that belong into a dataset."""
    if place.prefix and (head := bucket.head(place.prefix)) is not None:
        return [Object(place.prefix, head[0])]
    below = f"{place.prefix}/" if place.prefix else ""
    wanted = WANTED | {"archive"}
    found = [one for one in bucket.listing(below) if one.size and kind_of(_inner(one, place)) in wanted]
    if not found:
        raise RequestError(f"{place} holds no image, video, caption or archive. Check the name.")
    return found


def _inner(one: Object, place: S3Place) -> str:
    """Return the name of an object below the place; it is a label and never a path of this machine."""
    name = one.key.removeprefix(f"{place.prefix}/") if place.prefix else one.key
    return PurePosixPath(name).name if one.key == place.prefix else name


def _place(one: Object, folder: Path) -> Path:
    return folder / hashlib.sha256(f"{one.size} {one.key}".encode()).hexdigest()[:32]


def _is_here(one: Object, folder: Path) -> bool:
    """Tell whether an earlier call fetched the object: boto3 gives a file its name when it is whole."""
    path = _place(one, folder)
    return path.is_file() and path.stat().st_size == one.size


def _clear(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):
        folder.parent.rmdir()
