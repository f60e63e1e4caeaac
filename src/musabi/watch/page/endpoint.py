"""The view of the endpoint: the jobs of `musabi serve` where it runs on this machine, and how to end or retry one."""

import re
from collections.abc import Sequence
from typing import Any

from musabi.errors import RequestError
from musabi.watch.page.behind import kept
from musabi.watch.page.endpoint_asking import Asking, Question, Seen
from musabi.watch.page.endpoint_jobs import Row, counts, moment_of, rows
from musabi.watch.page.html import render
from musabi.watch.page.scene import Scene
from musabi.watch.page.view import Given, Query, Verb, View
from musabi.watch.serving import serving, url_of

HOST, PORT = "127.0.0.1", 8000
"""Where `musabi serve` listens unless it is told otherwise."""
JOB_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,99}")
MOST_BEFORE = 10**15
MEMORY = "endpoint"
SENTENCES = {
    "asking": "The server at {url} is asked how its jobs stand.",
    "refused": "The server at {url} does not take the key in MUSABI_API_KEY. It was started with another one: start "
    "the page with the same key as the server.",
    "no key": "The server at {url} wants a key, and MUSABI_API_KEY is not set for this page. Set it, then start the "
    "page again.",
    "other": "Something answers at {url}, but it is not musabi serve. Start musabi serve with another --port.",
    "old": "The musabi serve at {url} is older than this page and can't list its jobs. End it with Ctrl-C and start it "
    "again: its jobs go on.",
    "slow": "The server at {url} does not answer in time. It is asked again and again; its jobs go on.",
    "trouble": "The server at {url} says: {said}",
}


def address(scene: Scene) -> str:
    """Return where `musabi serve` listens: where it noted it, else by the variables that it reads.

    Raises:
        RequestError: ENDPOINT_PORT is no port.
    """
    noted = serving(scene.settings.musabi_state_dir.expanduser())
    if noted is not None:
        return noted.url
    asked = scene.environ.get("ENDPOINT_PORT", "").strip() or str(PORT)
    if not (asked.isascii() and asked.isdigit() and len(asked) <= 5 and int(asked) <= 65535):
        raise RequestError(
            f'ENDPOINT_PORT is "{asked[:20]}", which is no port. Set it to a number up to 65535.'
        )
    return url_of(scene.environ.get("ENDPOINT_HOST", "").strip() or HOST, int(asked) or PORT)


def look(scene: Scene, query: Query) -> tuple[str, Seen]:
    """Return the server's address, and how it stands there."""
    url = address(scene)
    asking = kept(scene.memory, MEMORY, lambda: Asking(key_of(scene)))
    return url, asking.look(Question(url, before_of(query)))


def key_of(scene: Scene) -> str | None:
    """Return the key that the server is told; a text that no header can hold is none."""
    key = scene.environ.get("MUSABI_API_KEY", "")
    return key if key and key.isascii() and key.isprintable() else None


def before_of(query: Query) -> int | None:
    """Return where the list begins that the page's address names; what is no number is none."""
    value = query.get("before", "")
    fits = value.isascii() and value.isdigit() and len(value) <= len(str(MOST_BEFORE))
    return int(value) if fits and 1 <= int(value) <= MOST_BEFORE else None


def sentence(scene: Scene, url: str, seen: Seen) -> str:
    """Return what there is to say of the server, "" where it answers as it should."""
    state = "no key" if seen.state == "refused" and key_of(scene) is None else seen.state
    return SENTENCES.get(state, "").format(url=url, said=seen.said[:300])


def _state(scene: Scene, query: Query) -> str:
    url, seen = look(scene, query)
    known = seen.asked is not None
    values: dict[str, Any] = {
        "off": seen.state == "off",
        "url": url,
        "up": seen.state == "up",
        "sentence": sentence(scene, url, seen),
        "counts": counts(seen.health) if known else [],
        "since": moment_of(seen.asked) if seen.asked is not None and seen.state != "up" else "",
    }
    return render("endpoint_state", values)


def _running(scene: Scene, query: Query) -> str:
    _, seen = look(scene, query)
    found = rows(seen.running)
    return _list("Running", found, {}) if found else ""


def _jobs(scene: Scene, query: Query) -> str:
    _, seen = look(scene, query)
    if seen.asked is None:
        return ""
    running = {row.id for row in rows(seen.running)}
    older = before_of(query) is not None
    more = {"next": seen.next, "newest": older}
    found = [row for row in rows(seen.newest) if row.id not in running]
    return _list("Older jobs" if older else "Waiting and ended", found, more)


def _list(title: str, found: Sequence[Row], more: dict[str, Any]) -> str:
    return render("endpoint_jobs", {"title": title, "jobs": found, "next": None, "newest": False} | more)


def _words(verb: str, scene: Scene, given: Given) -> list[str]:
    job_id = given.get("job")
    if not isinstance(job_id, str) or not JOB_ID.fullmatch(job_id):
        raise RequestError("There is no such job. Load the page again.")
    return ["jobs", verb, job_id, "--endpoint", address(scene)]


ENDPOINT = View(
    "endpoint",
    "Endpoint",
    parts={"state": _state, "running": _running, "jobs": _jobs},
    verbs={
        "endpoint-cancel": Verb(
            "Cancel a job of the endpoint",
            lambda scene, given: _words("cancel", scene, given),
            done="The job is cancelled. What it trained so far is kept for a retry.",
        ),
        "endpoint-retry": Verb(
            "Retry a job of the endpoint",
            lambda scene, given: _words("retry", scene, given),
            done="The job waits again and goes on from what is kept.",
        ),
    },
)
