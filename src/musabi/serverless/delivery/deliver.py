"""Hands a trained LoRA over by the way that the request asks for; `auto` takes the first that works."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from musabi.errors import MachineError, MusabiError, RequestError
from musabi.job.os_errors import plain_os_error
from musabi.serverless.context import Context
from musabi.serverless.delivery import hosts, huggingface, s3, volume
from musabi.serverless.delivery.way import Handover, Patience
from musabi.serverless.parts import Delivery, Trained

AUTO = "auto"
PATIENT = Patience()
FOLDER = "delivery"
INSTRUCTIONS = {
    huggingface.NAME: "Use the direct_download_url to download your trained LoRA safetensors file.",
    s3.NAME: "The signed link is in the job's answer (output.download_url); here it stands without its signature.",
    volume.NAME: "The files are on the endpoint's volume, at network_volume_path.",
}
INSTRUCTIONS_OF_HOSTS = "Use the direct_download_url to download the archive with your trained LoRA."


@dataclass(frozen=True)
class Way:
    """One way to hand a result over: its name in output.method, its name for people, and what does it.

    `require` finds out before the training whether it can work; it raises a MusabiError where not.
    """

    name: str
    title: str
    send: Callable[[Handover], Delivery]
    require: Callable[[Context], object]


WAYS = (
    Way(huggingface.NAME, huggingface.TITLE, huggingface.send, huggingface.require),
    Way(s3.NAME, s3.TITLE, s3.send, s3.require),
    *(
        Way(host.name, host.title, partial(hosts.send, host=host), partial(hosts.address, host=host))
        for host in hosts.HOSTS
    ),
    Way(volume.NAME, "Copying to the volume", volume.send, lambda _context: None),
)
BY_NAME = {way.name: way for way in WAYS}


def deliver(context: Context, trained: Trained, patience: Patience = PATIENT) -> Delivery:
    """Hand the LoRA over and tell the hub that the job is complete, as its last update.

    Raises:
        MachineError: every way that is asked for failed for good; the message says why.
        Cancelled: the job shall end.
    """
    folder = context.folder.path / FOLDER
    shutil.rmtree(folder, ignore_errors=True)
    try:
        delivery = _first_that_works(Handover(context, trained, folder, patience))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if context.places.volume is not None and delivery.network_volume_path is None:
        delivery = replace(delivery, network_volume_path=str(trained.comfy.parent))
    if delivery.expires_in_days:
        context.tell(
            "uploading", f"Download ready! URL valid for {delivery.expires_in_days} days.", progress=100.0
        )
    context.updates.add("COMPLETE", complete(context, delivery))
    return delivery


def require_deliverable(context: Context) -> tuple[str, ...]:
    """Find out before the training whether the result can be handed over; return what speaks against it.

    Of `auto` one way must be left.

    Raises:
        RequestError: what is asked for can't work, and why.
        MachineError: the hub refused.
    """
    problems: list[str] = []
    ways = list(ways_of(context))
    for way in ways:
        try:
            way.require(context)
        except MusabiError as problem:
            if len(ways) == 1:
                raise
            problems.append(f"{way.title}: {problem}")
    if len(problems) == len(ways):
        raise RequestError(" ".join(problems))
    return tuple(problems)


def ways_of(context: Context) -> Iterator[Way]:
    """Yield the ways that a request asks for, in the order in which they are tried.

    Raises:
        RequestError: there is none.
    """
    output = context.request.output
    if output.method != AUTO:
        yield BY_NAME[output.method]
        return
    found = []
    if context.updates.repo is not None:
        found.append(huggingface.NAME)
    if output.s3 is not None:
        found.append(s3.NAME)
    found += [name for name in context.settings.file_hosts if name in hosts.BY_NAME]
    if not found:
        raise RequestError(
            'output.method "auto" finds no way here: give output.huggingface or output.s3, or set FILE_HOSTS on '
            "the endpoint."
        )
    yield from (BY_NAME[name] for name in found)


def complete(context: Context, delivery: Delivery) -> dict[str, Any]:
    """Return the data of the COMPLETE update, which the original's clients read for `direct_download_url`."""
    repo = context.updates.repo
    known = repo.known if repo else None
    data: dict[str, Any] = {
        "message": "Training completed successfully!",
        "repository_url": f"{repo.access.endpoint}/{known}" if repo and known else None,
        "direct_download_url": delivery.download_url,
        "instructions": INSTRUCTIONS.get(delivery.download_method, INSTRUCTIONS_OF_HOSTS),
        "files_uploaded": list(delivery.files),
        "safetensors_files": [name for name in delivery.files if name.endswith(".safetensors")],
    }
    if delivery.download_method == huggingface.NAME:
        return data | ({"warnings": list(delivery.warnings)} if delivery.warnings else {})
    return data | {
        "download_url": delivery.download_url,
        "download_method": delivery.download_method,
        "expires_in_days": delivery.expires_in_days,
        "network_volume_path": delivery.network_volume_path,
        "warnings": list(delivery.warnings),
    }


def _first_that_works(handover: Handover) -> Delivery:
    failed: list[str] = []
    for way in ways_of(handover.context):
        handover.context.require_going_on()
        try:
            delivery = way.send(handover)
        except MusabiError as problem:
            failed.append(f"{way.title} upload failed: {problem}")
        except OSError as problem:
            failed.append(f"{way.title} upload failed: {plain_os_error(problem)}")
        else:
            return replace(delivery, warnings=(*failed, *delivery.warnings))
        handover.context.say(failed[-1])
    raise MachineError(" ".join(failed))
