"""A result goes to the hub: one commit, by a child process that is watched, into the repo of the job's updates."""

from dataclasses import replace

from musabi.errors import MachineError, RequestError
from musabi.hub.destination import HubPlace
from musabi.hub.faults import HubError
from musabi.hub.parcel import Piece
from musabi.hub.to_hub import require_writer, send_to_hub
from musabi.serverless.context import Context
from musabi.serverless.delivery.package import MODEL, pack
from musabi.serverless.delivery.request_words import in_request_words
from musabi.serverless.delivery.result_repo import REQUEST_SECONDS, ResultRepo, within
from musabi.serverless.delivery.way import AgainError, Handover
from musabi.serverless.parts import Delivery

NAME = "huggingface"
TITLE = "HuggingFace"
NOTE = "Direct download link for your trained LoRA safetensors file"
FLUSH_SECONDS = 30.0


def send(handover: Handover) -> Delivery:
    """Send the files to the repo of the job's updates.

    Raises:
        RequestError: there is no token, or the repo is public and should not be.
        MachineError: the hub refused, or could not be reached.
        Cancelled: the job shall end.
    """
    context = handover.context
    repo = _repo(context)
    name, public = handover.persist(TITLE, lambda: _named(repo))
    warnings = (f"{name} can be seen by everybody.",) if public and repo.private is None else ()
    context.updates.flush(FLUSH_SECONDS)  # two writers at once get in each other's way
    pieces = pack(context, handover.trained, handover.folder / "hub", name)
    context.tell("uploading", f"Uploading to {TITLE}...")
    _send_pieces(handover, repo, pieces, public=public)
    address = f"{repo.access.endpoint}/{name}"
    link = f"{address}/resolve/main/{MODEL}?download=true"
    return Delivery(
        download_method=NAME,
        download_url=link,
        safetensors_url=link,
        repo_url=address,
        note=NOTE,
        files=tuple(one.name for one in pieces),
        warnings=warnings,
    )


def require(context: Context) -> None:
    """Find out before the training whether the token may write to the repo.

    Raises:
        RequestError: there is no token, or the repo is public and should not be.
        MachineError: the hub refused.
    """
    repo = _repo(context)
    try:
        place = HubPlace(repo.name())
        within(REQUEST_SECONDS, lambda: require_writer(repo.access, place))
        repo.require_private()
    except TimeoutError:
        context.say(f"{TITLE}: the hub does not answer. It is asked again when there is something to upload.")
    except HubError as problem:
        if not problem.retry:  # a hub that is down now may be up when there is something to upload
            raise MachineError(in_request_words(str(problem))) from None


def _send_pieces(handover: Handover, repo: ResultRepo, pieces: list[Piece], *, public: bool) -> None:
    context, patience = handover.context, handover.patience
    try:
        send_to_hub(
            pieces,
            HubPlace(repo.name()),
            replace(repo.access, attempts=patience.attempts, backoff_s=patience.backoff_s),
            handover.trained.name,
            public=public,
            say=lambda text: context.say(f"{TITLE}: {text}"),
            cancel=context.stop,
        )
    except HubError as problem:
        raise MachineError(in_request_words(str(problem))) from None
    except RequestError as problem:
        raise RequestError(in_request_words(str(problem))) from None


def _named(repo: ResultRepo) -> tuple[str, bool]:
    """Return the repo's name, and whether everybody may see it: so it was asked for, or so it is already."""
    try:
        return repo.name(), repo.private is False or (repo.private is None and repo.is_public())
    except HubError as problem:
        raise (AgainError if problem.retry else MachineError)(str(problem)) from None


def _repo(context: Context) -> ResultRepo:
    if context.updates.repo is None:
        raise RequestError(
            "Uploading to HuggingFace needs output.huggingface.token: a token with write access. "
            "The endpoint's own HF_TOKEN does as well."
        )
    return context.updates.repo
