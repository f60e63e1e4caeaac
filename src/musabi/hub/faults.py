"""What can go wrong with the hub, as a table: how it is recognised, how it is said, whether a retry helps."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from musabi.children import scrub
from musabi.errors import MachineError


class HubError(MachineError):
    """The hub or the way to it failed. `kind` is a row of the table, `retry` whether a retry can help."""

    def __init__(self, message: str, kind: str, retry: bool = False) -> None:
        super().__init__(message)
        self.kind = kind
        self.retry = retry


@dataclass(frozen=True)
class Signs:
    """What was seen of a failure: HTTP status, the hub's X-Error-Code, and text for everything else."""

    status: int | None = None
    code: str | None = None
    text: str = ""
    token: bool = False


@dataclass(frozen=True)
class Fault:
    """A row: the signs that it needs (all that are given must hold), its sentence and whether to retry."""

    kind: str
    message: str
    retry: bool = False
    code: str | None = None
    status: tuple[int, ...] = ()
    pattern: str | None = None
    token: bool | None = None

    def fits(self, signs: Signs) -> bool:
        return (
            (self.code is None or self.code == signs.code)
            and (not self.status or signs.status in self.status)
            and (self.token is None or self.token == signs.token)
            and (self.pattern is None or re.search(self.pattern, signs.text, re.IGNORECASE) is not None)
        )


FAULTS: tuple[Fault, ...] = (
    Fault(
        "gated",
        "{repo} is gated. Ask for access at {endpoint}/{repo}, set HF_TOKEN to a read token of that account, "
        "then {again}.",
        code="GatedRepo",
        token=False,
    ),
    Fault(
        "gated",
        "{repo} is gated, and the account of HF_TOKEN has no access yet. "
        "Ask for it at {endpoint}/{repo}, then {again}.",
        code="GatedRepo",
    ),
    Fault(
        "unauthorized",
        "The hub refused HF_TOKEN while fetching {repo} (401). "
        "Replace it by a valid read token of {endpoint}/settings/tokens, then {again}.",
        status=(401,),
        token=True,
    ),
    Fault(
        "unauthorized",
        "{repo} is private or is not there (401 without a token). "
        "Set HF_TOKEN to a read token of {endpoint}/settings/tokens, then {again}.",
        status=(401,),
    ),
    Fault(
        "forbidden",
        "HF_TOKEN may not read {repo} (403). Give the token read access to it at {endpoint}/settings/tokens, "
        "or ask for access at {endpoint}/{repo}, then {again}.",
        status=(403,),
    ),
    Fault(
        "revision",
        "{repo} has no revision {revision}. Name a branch, tag or commit of it.",
        code="RevisionNotFound",
    ),
    Fault(
        "file",
        "{repo} has no file {path} at {revision}. Look at {endpoint}/{repo}/tree/{revision}.",
        code="EntryNotFound",
    ),
    Fault(
        "repo",
        "There is no {repo} at {endpoint}, or HF_TOKEN may not see it (404). Check the name.",
        status=(404,),
    ),
    Fault(
        "rate",
        "The hub asks for fewer requests (429) and went on doing so. Wait some minutes, then {again}; "
        "with HF_TOKEN set the limits are higher.",
        retry=True,
        status=(429,),
    ),
    Fault(
        "server",
        "The hub answered with an error ({status}) several times. Wait some minutes, then {again}.",
        retry=True,
        status=(408, 500, 502, 503, 504),
    ),
    Fault(
        "disk",
        "The disk ran full while {repo} was fetched. Make room under {place}, then {again}.",
        pattern=r"no space left|disk quota exceeded|Errno 28|Errno 122",
    ),
    Fault(
        "dns",
        "The name of {endpoint} can't be looked up: this machine has no DNS. "
        "On Runpod, deploy the pod without Global Networking or in another region.",
        retry=True,
        pattern=r"name or service not known|name resolution|nodename nor servname|getaddrinfo|no address",
    ),
    Fault(
        "stalled",
        "{repo} sent no byte for {stall_s} s, several times. "
        "Try another machine or region, or wait some minutes, then {again}.",
        retry=True,
        pattern=r"no byte for",
    ),
    Fault(
        "offline",
        "HF_HUB_OFFLINE is set, so nothing can be fetched. Unset it, then {again}.",
        pattern=r"offline ?mode",
    ),
    Fault(
        "connection",
        "The connection to {endpoint} broke several times. Check the network, then {again}.",
        retry=True,
        pattern=r"connect|timed? ?out|reset by peer|consistency check|protocol|incomplete|ssl",
    ),
)
UNKNOWN = Fault("unknown", "{repo} could not be fetched: {text}", retry=True)
DEFAULTS = {
    "path": "?",
    "revision": "main",
    "place": "the workspace",
    "stall_s": 60,
    "again": "run musabi bootstrap again",
}


def find(signs: Signs, rows: tuple[Fault, ...] = FAULTS) -> Fault:
    """Return the first row that the signs fit."""
    return next((fault for fault in rows if fault.fits(signs)), UNKNOWN)


def hub_error(signs: Signs, **names: object) -> HubError:
    """Return the error to raise for some signs; `names` fill the sentence (repo, endpoint, path, ...)."""
    return said(find(signs), signs, names)


def said(fault: Fault, signs: Signs, names: Mapping[str, object]) -> HubError:
    """Return the error of a row, its sentence filled."""
    last = next((line for line in reversed(signs.text.splitlines()) if line.strip()), "no reason was given")
    known = DEFAULTS | {"status": signs.status, "text": scrub(last.strip())} | dict(names)
    return HubError(fault.message.format(**known), fault.kind, fault.retry)


def signs_of(error: Exception, token: bool) -> Signs:
    """Return what an exception of the hub's client shows, and what it was raised from."""
    chain: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in chain:
        chain.append(link)
        link = link.__cause__ or link.__context__
    text = "\n".join(f"{type(link).__name__}: {link}" for link in reversed(chain))
    answers = (getattr(link, "response", None) for link in chain)
    response = next((answer for answer in answers if answer is not None), None)
    headers = getattr(response, "headers", {})
    return Signs(getattr(response, "status_code", None), headers.get("X-Error-Code"), text, token)
