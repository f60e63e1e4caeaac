"""The hub: whether it answers, takes the token and gives out the recipe's repos, and what its clock says."""

import email.utils
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from musabi.hub.access import Access
from musabi.hub.faults import Signs, find
from musabi.pod.doctor import names
from musabi.pod.doctor.finding import Finding, finding, ok
from musabi.pod.doctor.scene import Scene
from musabi.pod.doctor.texts import State
from musabi.recipes import Recipe

if TYPE_CHECKING:
    import httpx

CLOCK_SECONDS = 120
"""Signed requests are refused from 15 minutes on; a clock that is two minutes off is not set by anybody."""
OFF = ("", "0", "false", "no", "off")
# The rows for what the hub says of a repo, by the kinds of musabi.hub.faults; without and with a token.
REFUSALS = {
    "gated": ("network.gated_no_token", "network.gated"),
    "unauthorized": ("network.no_repo", "network.token_refused"),
    "forbidden": ("network.forbidden", "network.forbidden"),
    "repo": ("network.no_repo", "network.no_repo"),
    "file": ("network.no_repo", "network.no_repo"),
    "revision": ("network.no_repo", "network.no_repo"),
    "rate": ("network.rate", "network.rate"),
}


@dataclass(frozen=True)
class Answer:
    """What the hub answered to one request: its status, its X-Error-Code and its Date."""

    status: int
    code: str | None = None
    date: str | None = None


def look(scene: Scene) -> list[Finding]:
    """Look up names, then ask the hub, where its own name can be looked up."""
    found = names.look(scene)
    lost = names.host_in(scene.access.endpoint) or ""
    if any(
        each.name == "network.no_dns" or (each.name == "network.no_name" and lost in each.what)
        for each in found
    ):
        return found
    if scene.environ.get("HF_HUB_OFFLINE", "").lower() not in OFF:
        return [*found, finding("network.offline", _state(bool(scene.missing_weights)))]
    return [*found, *ask_hub(scene)]


def ask_hub(scene: Scene) -> list[Finding]:
    """Ask who the token belongs to, then for one file of each repo that the recipe names."""
    import httpx

    access = scene.access
    headers = {"Authorization": f"Bearer {access.token}"} if access.token else {}
    needed = bool(scene.missing_weights)
    try:
        with httpx.Client(base_url=access.endpoint, headers=headers, timeout=access.request_s) as client:
            return _questions(scene, client)
    except (httpx.LocalProtocolError, httpx.InvalidURL, UnicodeError):
        # Their own words would quote the token.
        return [finding("network.token_odd", _state(needed))]
    except httpx.HTTPError as error:
        host, kind = names.host_in(access.endpoint), type(error).__name__
        return [finding("network.unreachable", _state(needed), host=host, error=kind)]


def _questions(scene: Scene, client: "httpx.Client") -> list[Finding]:
    waited_for = {wanted.repo for wanted in scene.missing_weights}
    found = judge_hub(_answer(client.get("/api/whoami-v2")), scene.access, needed=bool(waited_for))
    if any(each.name in ("network.hub_down", "network.token_refused") for each in found):
        return found
    for repo, path in files_to_try(scene.recipe).items():
        answer = _answer(client.head(f"/{repo}/resolve/main/{path}"))
        found += judge_repo(repo, answer, scene.access, needed=repo in waited_for)
    return found


def files_to_try(recipe: Recipe) -> dict[str, str]:
    """Return one file of each repo that the recipe names."""
    found = {weights.repo: weights.files[0] for weights in recipe.weights.values()}
    small = {one.repo: str(PurePosixPath(one.folder, one.files[0])) for one in recipe.tokenizers}
    return small | found


def judge_hub(first: Answer, access: Access, *, needed: bool) -> list[Finding]:
    """Return what the answer to whoami says: hub, token, clock. Without a token, 401 is the right answer."""
    host = names.host_in(access.endpoint)
    found = judge_clock(first.date, time.time())
    if first.status >= 500:
        return [finding("network.hub_down", _state(needed), host=host, status=first.status), *found]
    if first.status == 429:
        return [finding("network.rate", host=host), *found]
    if access.token and first.status == 401:
        return [finding("network.token_refused", _state(needed), endpoint=access.endpoint), *found]
    token = "takes HF_TOKEN" if access.token else "answers (no HF_TOKEN)"
    return [ok("network.hub", f"{host} {token}"), *found]


def judge_repo(repo: str, answer: Answer, access: Access, *, needed: bool) -> list[Finding]:
    """Return what is to be said of a repo of the recipe; nothing where it can be read. Pure."""
    if answer.status < 400:
        return []
    with_token = access.token is not None
    kind = find(Signs(answer.status, answer.code, token=with_token)).kind
    key = REFUSALS.get(kind, ("network.repo_odd", "network.repo_odd"))[with_token]
    state = None if key in ("network.rate", "network.repo_odd") else _state(needed)
    words: Mapping[str, object] = {
        "repo": repo,
        "endpoint": access.endpoint,
        "host": names.host_in(access.endpoint),
        "status": answer.status,
    }
    return [finding(key, state, **words)]


def judge_clock(date: str | None, now: float) -> list[Finding]:
    """Return what the hub's Date header says of this machine's clock (`now`, Unix seconds). Pure."""
    try:
        theirs = email.utils.parsedate_to_datetime(date or "").timestamp()
    except ValueError:
        return []
    off = now - theirs
    if abs(off) < CLOCK_SECONDS:
        return []
    return [finding("network.clock", seconds=f"{abs(off):.0f}", way="fast" if off > 0 else "slow")]


def _answer(response: "httpx.Response") -> Answer:
    headers = response.headers
    return Answer(response.status_code, headers.get("X-Error-Code"), headers.get("Date"))


def _state(needed: bool) -> State:
    """What can't be fetched blocks only where it is still to come."""
    return "blocks" if needed else "note"
