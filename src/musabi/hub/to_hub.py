"""Sends a parcel to a repo on the hub, by a child process with a watchdog on the bytes that it moves."""

import contextlib
import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from musabi.children import Cancelled, Outcome, run, scrub, secrets
from musabi.errors import RequestError
from musabi.hub.access import HUB, Access
from musabi.hub.client import GOES_ON_WITHOUT_XET, READ_NOISE, bytes_read, client_environment
from musabi.hub.destination import HubPlace
from musabi.hub.faults import HubError, Signs, signs_of
from musabi.hub.listing import gigabytes
from musabi.hub.parcel import Piece, Sent
from musabi.hub.upload_faults import upload_error
from musabi.whole import write_json

WORTH_SAYING = 10_000_000


@dataclass
class Heard:
    """What the child has said so far."""

    changed: tuple[str, ...] | None = None
    public: bool = False
    done: str | None = None
    error: dict[str, Any] = field(default_factory=dict)


def send_to_hub(
    pieces: Sequence[Piece],
    place: HubPlace,
    access: Access,
    title: str,
    *,
    public: bool = False,
    say: Callable[[str], None] = lambda _text: None,
    cancel: threading.Event | None = None,
) -> Sent:
    """Make the repo where there is none (private, unless `public`) and send what it does not have, as one commit.

    Raises:
        RequestError: there is no token, or the repo is public and `public` is not given.
        HubError: the hub refused, or could not be reached.
        Cancelled: `cancel` was set.
    """
    require_token(access)
    failures = 0
    plain = access.endpoint != HUB  # other hubs need not speak Xet, and the client does not ask them
    changed: dict[str, None] = {}
    while True:
        heard, outcome = _attempt(pieces, place, access, title, public, plain, say, cancel)
        changed |= dict.fromkeys(heard.changed or ())
        if heard.public:
            raise RequestError(
                f"{place.repo} is there already and everybody can see it. Add --public to publish there, or "
                "name another repo."
            )
        if heard.done is not None:
            unchanged = tuple(one.name for one in pieces if one.name not in changed)
            return Sent(heard.done, tuple(changed), unchanged)
        fault = _fault(heard, outcome, place, access)
        failures += 1
        if not fault.retry or failures >= access.attempts:
            raise fault
        plain = plain or fault.kind in GOES_ON_WITHOUT_XET
        say(f"{place.repo}: {outcome.ended or fault.kind}, trying again")
        if (cancel or threading.Event()).wait(access.delay(failures)):
            raise Cancelled


def require_token(access: Access) -> None:
    """Raise a RequestError where there is no token."""
    if access.token is None:
        raise RequestError(
            "Publishing to the hub needs a token. Set HF_TOKEN to a token with write access from "
            f"{access.endpoint}/settings/tokens."
        )


def require_writer(access: Access, place: HubPlace) -> None:
    """Ask the hub once whether the token may write to the place; where it can't be asked, nothing is refused.

    Raises:
        RequestError: there is no token.
        HubError: the hub refused the token, or it may only read, or not there.
    """
    require_token(access)
    from huggingface_hub import HfApi

    try:
        who = HfApi(endpoint=access.endpoint, token=access.token).whoami()
    except Exception as error:
        signs = signs_of(error, token=True)
        if signs.status == 401:
            raise _error(signs, place, access) from None
        return
    role = who.get("auth", {}).get("accessToken", {}).get("role")
    mine = {who.get("name"), *(org.get("name") for org in who.get("orgs", ()))}
    # A fine-grained token has rights of its own, which only the upload itself shows.
    if role == "read" or (role == "write" and place.repo.partition("/")[0] not in mine):
        raise _error(Signs(403, token=True), place, access)


class Movement:
    """Ends a child that stands still for `stall_s` seconds.

    A plain upload reads its file piece by piece as the line takes them. Xet reads far ahead, so that there
    the network's counters tell (proc(5), net/dev): they count for the whole container, and a busy one may
    hide a stall for a while, but a slow line is never taken for a dead one.
    """

    def __init__(self, stall_s: float, *, plain: bool) -> None:
        self._stall_s = stall_s
        self._plain = plain
        self._seen = 0
        self._since = time.monotonic()

    def __call__(self, pid: int) -> str | None:
        moved = bytes_read(pid) + (0 if self._plain else bytes_sent(pid))
        if moved - self._seen > READ_NOISE:
            self._seen, self._since = moved, time.monotonic()
        if time.monotonic() - self._since < self._stall_s:
            return None
        return f"no byte for {self._stall_s:.0f} s"


def bytes_sent(pid: int) -> int:
    """Return the bytes sent so far by the network that a process sees; 0 where nobody says."""
    try:
        lines = Path(f"/proc/{pid}/net/dev").read_text(encoding="ascii").splitlines()[2:]
    except OSError:
        return 0
    return sum(int(line.partition(":")[2].split()[8]) for line in lines)


def _attempt(
    pieces: Sequence[Piece],
    place: HubPlace,
    access: Access,
    title: str,
    public: bool,
    plain: bool,
    say: Callable[[str], None],
    cancel: threading.Event | None,
) -> tuple[Heard, Outcome]:
    heard = Heard()
    sizes = {one.name: one.size for one in pieces}

    hidden = secrets(access.environment)

    def listen(line: str) -> None:
        _hear(line, heard, sizes, lambda text: say(scrub(text, hidden)))

    with tempfile.TemporaryDirectory(prefix="musabi-publish-") as folder:
        request = Path(folder) / "request.json"
        write_json(
            request,
            {
                "repo": place.repo,
                "title": title,
                "public": public,
                "pieces": [one.as_json() for one in pieces],
            },
        )
        outcome = run(
            [sys.executable, "-P", "-m", "musabi.hub.upload_child", str(request)],
            _child_environment(access, plain),
            log=listen,
            watch=Movement(access.stall_s, plain=plain),
            cancel=cancel,
        )
    return heard, outcome


def _child_environment(access: Access, plain: bool) -> dict[str, str]:
    """Return the child's environment without the secrets that are not the hub's.

    It needs none of them, and a password such as "changed" would be struck out of the lines that it answers with.
    """
    return {
        name: value
        for name, value in client_environment(access, plain).items()
        if name.startswith(("HF_", "HUGGING_FACE_")) or not secrets({name: value})
    }


def _hear(line: str, heard: Heard, sizes: dict[str, int], say: Callable[[str], None]) -> None:
    value: Any = None
    with contextlib.suppress(json.JSONDecodeError):
        value = json.loads(line)
    if not isinstance(value, dict):
        return
    if "changed" in value:
        heard.changed = tuple(value["changed"])
        total = sum(sizes.get(name, 0) for name in heard.changed)
        if total:
            say(f"sending {gigabytes(total)} in {len(heard.changed)} files")
    elif "uploaded" in value and (size := sizes.get(value["uploaded"], 0)) > WORTH_SAYING:
        say(f"{value['uploaded']} has arrived ({gigabytes(size)})")
    heard.public = heard.public or bool(value.get("public"))
    heard.done = value.get("done", heard.done)
    heard.error = value.get("error", heard.error)


def _fault(heard: Heard, outcome: Outcome, place: HubPlace, access: Access) -> HubError:
    error = heard.error
    text = scrub(outcome.ended or str(error.get("text") or outcome.text), secrets(access.environment))
    status = None if outcome.ended else error.get("status")
    return _error(Signs(status, error.get("code"), text, token=True), place, access)


def _error(signs: Signs, place: HubPlace, access: Access) -> HubError:
    return upload_error(
        signs,
        repo=place.repo,
        owner=place.repo.partition("/")[0],
        endpoint=access.endpoint,
        again="publish again",
        stall_s=f"{access.stall_s:g}",
    )
