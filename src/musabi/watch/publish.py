"""`musabi publish`: brings what came of a run to the hub, to S3 or to a folder."""

import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict, Unpack

from musabi.children import secrets
from musabi.errors import MachineError, RequestError
from musabi.hub.access import Access
from musabi.hub.destination import HubPlace, Place, S3Place, parse_destination
from musabi.hub.parcel import Piece, Sent
from musabi.hub.s3 import send_to_s3
from musabi.hub.to_folder import send_to_folder
from musabi.hub.to_hub import require_token, send_to_hub
from musabi.job.publishing import mark_published
from musabi.job.record import Publication, RunFolder, RunState
from musabi.watch.lineage import Lineage, read_lineage
from musabi.watch.parcel import Wishes, pack
from musabi.whole import read_json, write_json


@dataclass(frozen=True)
class Published:
    """Where a run's files are now: `place` as it was named, `address` to look at; sizes in bytes.

    `sent` and `unchanged` are names at the destination.
    """

    place: str
    address: str
    files: tuple[tuple[str, int], ...]
    sent: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
    public: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return the outcome as values that JSON can hold."""
        return {
            **vars(self),
            "files": [{"name": name, "size": size} for name, size in self.files],
        }


class Asked(TypedDict, total=False):
    """What a person may ask for beside the place: `public` on the hub, the card's trigger word, all checkpoints."""

    public: bool
    trigger: str | None
    all_checkpoints: bool


@dataclass(frozen=True)
class Publishing:
    """One publishing: what, where to, and how. `access` says how patient to be with the hub."""

    lineage: Lineage
    place: Place
    environ: Mapping[str, str] = field(repr=False)
    public: bool = False
    wishes: Wishes = field(default_factory=Wishes)
    access: Access = field(default_factory=Access)


def publish(
    folder: RunFolder,
    destination: str,
    environ: Mapping[str, str],
    *,
    say: Callable[[str], None] = lambda _text: None,
    cancel: threading.Event | None = None,
    access: Access | None = None,
    **asked: Unpack[Asked],
) -> Published:
    """Bring the final LoRA (native and converted), samples, model card and settings of a run to a destination.

    `destination`: hf:USER/REPO (made private unless `public`), s3://BUCKET/PREFIX or a folder, in which {name}
    stands for the run's output name and {run} for its id. `environ` holds the tokens and keys, as children get
    it. What is there with the same content is not sent again. The run's record notes the place.

    Raises:
        RequestError: the destination, the token or the run can't be right.
        MachineError: the destination can't be reached or written, or has no room (HubError for the hub).
        Cancelled: `cancel` was set.
    """
    planned = plan(folder, destination, environ, **asked)
    try:
        with tempfile.TemporaryDirectory(prefix="musabi-publish-") as made:
            pieces = pack(planned.lineage, planned.wishes, Path(made))
            sent = _send(planned, pieces, access or planned.access, say, cancel)
    except OSError as problem:
        raise MachineError(
            f"Publishing to {planned.place} failed: {problem.filename or 'a file'}: "
            f"{problem.strerror or problem}. Mend that, then publish again."
        ) from None
    _note(folder, str(planned.place), len(pieces), planned.public)
    mark_published(folder)
    return _published(planned, pieces, sent)


def contents(
    folder: RunFolder,
    destination: str,
    environ: Mapping[str, str],
    **asked: Unpack[Asked],
) -> Published:
    """Return what `publish` would bring there, and send nothing.

    Raises:
        RequestError: the destination or the run can't be right.
        OSError: a file can't be read.
    """
    planned = plan(folder, destination, environ, **asked)
    with tempfile.TemporaryDirectory(prefix="musabi-publish-") as made:
        return _published(planned, pack(planned.lineage, planned.wishes, Path(made)), None)


def plan(
    folder: RunFolder,
    to: str,
    environ: Mapping[str, str],
    *,
    public: bool = False,
    trigger: str | None = None,
    all_checkpoints: bool = False,
) -> Publishing:
    """Return everything about a publishing that can be known, and refused, without asking anybody.

    Raises:
        RequestError: the destination, the run or the wishes can't be right, or the token or keys are missing.
    """
    lineage = read_lineage(folder)
    record = lineage.record
    name = str(record.job["output_name"])
    place = parse_destination(to, {"name": name, "run": record.id})
    access = Access(environ)
    if isinstance(place, HubPlace):
        if place.repo_type != "model":
            raise RequestError(f"{place} is a dataset. A LoRA goes to a model repo: hf:USER/REPO.")
        require_token(access)
    elif public:
        raise RequestError("--public is for the hub. Who may read a bucket or a folder is set there.")
    repo = place.repo if isinstance(place, HubPlace) else None
    wishes = Wishes(repo, trigger, all_checkpoints, secrets(environ))
    return Publishing(lineage, place, environ, public, wishes, access)


def _send(
    asked: Publishing,
    pieces: list[Piece],
    access: Access,
    say: Callable[[str], None],
    cancel: threading.Event | None,
) -> Sent:
    if isinstance(asked.place, HubPlace):
        title = str(asked.lineage.record.job["output_name"])
        return send_to_hub(pieces, asked.place, access, title, public=asked.public, say=say, cancel=cancel)
    if isinstance(asked.place, S3Place):
        return send_to_s3(pieces, asked.place, asked.environ, say)
    return send_to_folder(pieces, asked.place, say)


def _published(asked: Publishing, pieces: list[Piece], sent: Sent | None) -> Published:
    return Published(
        place=str(asked.place),
        address=sent.place if sent else str(asked.place),
        files=tuple((one.name, one.size) for one in pieces),
        sent=sent.sent if sent else (),
        unchanged=sent.unchanged if sent else (),
        public=asked.public,
    )


def _note(folder: RunFolder, place: str, files: int, public: bool) -> None:
    """Note the place in the record of a run that has ended; a runner at work owns its record."""
    values = read_json(folder.record_file)
    if folder.load().state in (RunState.PLANNED, RunState.RUNNING) or not isinstance(values, dict):
        return
    noted = Publication(place=place, at=time.time(), files=files, public=public).model_dump(mode="json")
    earlier = [one for one in values.get("published", []) if one.get("place") != place]
    write_json(folder.record_file, values | {"published": [*earlier, noted]})
