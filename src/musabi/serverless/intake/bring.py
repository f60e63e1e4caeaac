"""Brings a job's dataset from its addresses: fetched, unpacked, sorted, every caption where trainers look for it.

A try that was cut off begins anew with what lies in the dataset folder, and goes on with what was downloaded.
"""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from musabi.dataset.archive import Limits
from musabi.dataset.incoming import Brought
from musabi.dataset.unpack import NothingUsableError, unpack_files
from musabi.errors import MachineError, RequestError
from musabi.hub import guarded
from musabi.hub.addresses import shown
from musabi.hub.guarded import Network
from musabi.hub.web import Downloaded, Ways, download_url, forget
from musabi.serverless.intake.captions_present import settle_captions, uncaptioned
from musabi.serverless.intake.sorting import Sorted, sort_by_kind
from musabi.serverless.parts import BroughtDataset
from musabi.serverless.request.secrets import whole_address

if TYPE_CHECKING:
    from musabi.serverless.context import Context
    from musabi.serverless.request.fields import Dataset

GIGABYTE = 10**9
UNPACKED = 2
"""How many times the largest archive its files may take: pictures and videos barely shrink."""
SILENCE_SECONDS = 30.0
NOTHING = "No images/videos found in directory"
"""The original endpoint's words, which its users look for."""
MOST_NAMED = 5
KEPT: dict[str, frozenset[str]] = {
    "images": frozenset({"images"}),
    "videos": frozenset({"videos"}),
    "both": frozenset({"images", "videos"}),
    "precaptioned": frozenset({"images", "videos"}),
}
"""What a dataset of a type is made of, whatever else its archives hold."""


@dataclass(frozen=True)
class Wanted:
    """An archive to fetch. `kinds` is what it must hold: images, videos, or both where both name it."""

    url: str
    kinds: tuple[str, ...]

    @property
    def field(self) -> str:
        """The archive's name in the request."""
        return f"dataset.{self.kinds[0]}_url"

    @property
    def message(self) -> str:
        """What a client sees meanwhile, in the original's words."""
        return f"Downloading {self.kinds[0].removesuffix('s')} dataset"


def bring(context: "Context", network: Network | None = None) -> BroughtDataset:
    """Fetch the archives that the request names, and make the job's dataset folder of them.

    `network` is how addresses are asked (None: the real one); no setting or request changes it.

    Raises:
        RequestError: an address is refused or gives no archive, or there is not what the dataset's type says.
        MachineError: the network failed several times, or the disk has too little room.
        Cancelled, Stopped: the job was asked to end.
    """
    folder = context.folder
    wanted = _wanted(context.request.dataset, context.secrets)
    if not wanted:
        raise RequestError(
            f"{NOTHING}: the request names no dataset. Give dataset.images_url or dataset.videos_url."
        )
    shutil.rmtree(folder.dataset, ignore_errors=True)
    fetched = [(one, _fetch(context, one, network or guarded.NETWORK)) for one in wanted]
    found = Sorted()
    for one, archive in fetched:
        found += _unpack(context, one, archive)
    brought = _finish(context, found)
    shutil.rmtree(folder.download, ignore_errors=True)
    return brought


def _wanted(dataset: "Dataset", secrets: Mapping[str, str]) -> list[Wanted]:
    """Return the archives to fetch, of the kinds that the dataset's type asks for; one for both stands once."""
    kinds: dict[str, tuple[str, ...]] = {}
    for kind, url in dataset.addresses.items():
        whole = whole_address(f"dataset.{kind}_url", url, secrets)
        kinds[whole] = (*kinds.get(whole, ()), kind)
    return [Wanted(url, of) for url, of in kinds.items()]


def _fetch(context: "Context", one: Wanted, network: Network) -> Downloaded:
    """Download an archive; what failed is said before why."""
    context.updates.add("DOWNLOADING", {"message": one.message, "url": shown(one.url)})
    context.tell("dataset", one.message, progress=0.0)
    try:
        return download_url(one.url, context.folder.download, _ways(context, one, network))
    except RequestError as problem:
        raise RequestError(f"Failed to download dataset: {problem}") from None
    except MachineError as problem:
        raise MachineError(f"Failed to download dataset: {problem}") from None


def _ways(context: "Context", one: Wanted, network: Network) -> Ways:
    def came(here: int, total: int | None) -> None:
        progress = round(100 * here / total, 1) if total else None
        context.tell("dataset", one.message, progress=progress)

    return Ways(
        network=network,
        most_bytes=int(context.settings.endpoint_most_dataset_gb * GIGABYTE),
        silence_s=SILENCE_SECONDS,
        say=context.say,
        came=came,
        cancel=context.stop,
    )


def _unpack(context: "Context", one: Wanted, archive: Downloaded) -> Sorted:
    """Unpack an archive, and sort what is in it into the folders of images and videos."""
    context.tell("dataset", f"Unpacking {one.field}")
    folder = context.folder
    incoming = folder.dataset / "incoming"
    try:
        came = _take_out(context, one, archive, incoming)
        found = sort_by_kind(incoming, folder.images, folder.videos, KEPT[context.request.dataset.type])
        shutil.rmtree(incoming)
        left_out = tuple((left.name, left.reason) for left in came.left_out) + found.left_out
        for kind in one.kinds:
            if not getattr(found, kind):
                raise RequestError(
                    f"{NOTHING}: dataset.{kind}_url holds no {kind} that can be used{_why(left_out)}."
                )
    except RequestError:
        forget(archive)  # it is whole, and another try would find the same
        raise
    return Sorted(found.images, found.videos, left_out)


def _take_out(context: "Context", one: Wanted, archive: Downloaded, target: Path) -> Brought:
    # What is said of the archive should name it as the request does.
    named = archive.path.with_name(one.field)
    named.unlink(missing_ok=True)
    named.symlink_to(archive.path.name)
    limits = Limits(total=int(UNPACKED * context.settings.endpoint_most_dataset_gb * GIGABYTE))
    try:
        return unpack_files([(archive.name, named)], target, limits=limits, say=_say(context))
    except NothingUsableError as problem:
        raise RequestError(f"{NOTHING}: {one.field}. {problem}") from None
    except RequestError as problem:
        raise RequestError(f"Failed to unpack dataset: {problem}") from None
    finally:
        named.unlink(missing_ok=True)


def _say(context: "Context") -> Callable[[str], None]:
    def say(text: str) -> None:
        context.require_going_on()
        context.say(text)
        context.tell("dataset", text[:1].upper() + text[1:])

    return say


def _why(left_out: tuple[tuple[str, str], ...]) -> str:
    shown_ = "; ".join(f"{name} {why}" for name, why in left_out[:3])
    return f" ({shown_})" if shown_ else ""


def _finish(context: "Context", found: Sorted) -> BroughtDataset:
    folder = context.folder
    images = folder.images if found.images else None
    videos = folder.videos if found.videos else None
    for one in (images, videos):
        if one is not None:
            settle_captions(one, context.say)
    bare = tuple(path for one in (images, videos) if one is not None for path in uncaptioned(one))
    if bare and context.request.dataset.type == "precaptioned":
        raise RequestError(_without_captions(bare, len(found.images) + len(found.videos)))
    for name, why in found.left_out:
        context.say(f"Left out: {name} {why}")
    return BroughtDataset(images, videos, len(found.images), len(found.videos), bare, found.left_out)


def _without_captions(bare: tuple[Path, ...], total: int) -> str:
    more = f" and {len(bare) - MOST_NAMED:,} more" if len(bare) > MOST_NAMED else ""
    return (
        f"{len(bare):,} of {total:,} files have no caption: {', '.join(path.name for path in bare[:MOST_NAMED])}"
        f"{more}. Put a .txt of the same name beside each, or let them be captioned with dataset.type "
        "images, videos or both."
    )
