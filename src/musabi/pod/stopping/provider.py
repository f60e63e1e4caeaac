"""Asking Runpod to stop or delete this pod, and what it costs: through runpodctl where it is, else REST.

Nothing here raises for what Runpod answers: answers are values, with a sentence that holds no secret. What
runpodctl prints where it succeeds is never shown, since it holds the pod's whole environment.
"""

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from musabi.children import run, scrub
from musabi.errors import RequestError
from musabi.pod.stopping.deadline import Action
from musabi.settings import Settings

CONSOLE = "https://console.runpod.io/pods"
NOT_A_POD = "This is not a Runpod pod: RUNPOD_POD_ID is not set."
NO_WAY = (
    "Nothing here can stop the pod: there is neither runpodctl nor RUNPOD_API_KEY, which Runpod sets in its "
    f"pods. Stop it at {CONSOLE}"
)
# The current words of runpodctl 2, and those of version 1, which 2 still takes.
NEW_WORDS: dict[Action, tuple[str, ...]] = {"stop": ("pod", "stop"), "delete": ("pod", "delete")}
OLD_WORDS: dict[Action, tuple[str, ...]] = {"stop": ("stop", "pod"), "delete": ("remove", "pod")}
# Version 1 says that a stop failed and ends with 0 all the same.
FAILED = re.compile(r'^pod ".*" stop failed; .*', re.MULTILINE)
RUNPODCTL_SECONDS = 60.0
REST_SECONDS = 20.0
SHOWN_CHARACTERS = 300
STATUS_WORDS = {
    401: "Runpod does not take RUNPOD_API_KEY (401)",
    403: "RUNPOD_API_KEY may not do that (403)",
    404: "Runpod knows no pod of this id under this key (404)",
    429: "Runpod is asked too often (429)",
}


@dataclass(frozen=True)
class Answer:
    """What came of a request: whether it was accepted, by which way, and a sentence about it."""

    accepted: bool
    way: str
    message: str = ""


@dataclass(frozen=True)
class PodFacts:
    """What Runpod says of this pod. Money is in US dollars, sizes in GB (10^9), times in Unix seconds."""

    per_hour: float | None = None
    last_started: float | None = None
    volume_gb: float | None = None
    network_volume_gb: float | None = None
    status: str | None = None


@dataclass(frozen=True)
class Pod:
    """This pod, as Runpod knows it. `environ` is what runpodctl inherits, its key and config folder in it."""

    id: str
    key: str | None
    rest_url: str
    environ: Mapping[str, str]
    rest_s: float = REST_SECONDS
    runpodctl_s: float = RUNPODCTL_SECONDS

    @property
    def has_runpodctl(self) -> bool:
        return shutil.which("runpodctl", path=self.environ.get("PATH")) is not None

    @property
    def can_be_stopped(self) -> bool:
        """Tell whether there is a way at all."""
        return self.has_runpodctl or self.key is not None


def this_pod(settings: Settings, environ: Mapping[str, str]) -> Pod:
    """Return this pod.

    Raises:
        RequestError: this is no pod of Runpod's.
    """
    if not settings.runpod_pod_id:
        raise RequestError(f"{NOT_A_POD} Stop this machine the way you started it.")
    key = (settings.runpod_api_key or "").strip() or None
    return Pod(settings.runpod_pod_id.strip(), key, settings.runpod_rest_url.rstrip("/"), environ)


def ask_runpod(pod: Pod, action: Action) -> Answer:
    """Ask for the pod to be stopped or deleted: by runpodctl, and where that fails by REST."""
    said = []
    if pod.has_runpodctl:
        answer = _by_runpodctl(pod, action)
        if answer.accepted or pod.key is None:
            return answer
        said.append(answer.message)
    if pod.key is None:
        return Answer(False, "none", NO_WAY)
    answer = _by_rest(pod, action)
    return answer if answer.accepted else Answer(False, answer.way, " ".join([*said, answer.message]))


def ask_facts(pod: Pod) -> PodFacts | str:
    """Return what Runpod says of the pod, or a sentence that tells why it said nothing."""
    if pod.key is None:
        return "RUNPOD_API_KEY is not set, so Runpod can't be asked."
    answer = _request(pod, "GET", f"/pods/{pod.id}?includeNetworkVolume=true")
    if isinstance(answer, str):
        return answer
    return facts_of(answer) if isinstance(answer, dict) else "Runpod's answer could not be read."


def facts_of(values: Mapping[str, Any]) -> PodFacts:
    """Return the facts in Runpod's answer to GET /pods/ID.

    `adjustedCostPerHr` is what is really charged, savings plans deducted; `costPerHr` may be text
    (docs.runpod.io/api-reference/pods/GET/pods/podId).
    """
    volume = values.get("networkVolume")
    return PodFacts(
        per_hour=_number(values.get("adjustedCostPerHr")) or _number(values.get("costPerHr")),
        last_started=_moment(values.get("lastStartedAt")),
        volume_gb=_number(values.get("volumeInGb")),
        network_volume_gb=_number(volume.get("size")) if isinstance(volume, dict) else None,
        status=str(values["desiredStatus"]) if values.get("desiredStatus") else None,
    )


def _by_runpodctl(pod: Pod, action: Action) -> Answer:
    text = ""
    for words in (NEW_WORDS[action], OLD_WORDS[action]):
        try:
            outcome = run(["runpodctl", *words, pod.id], pod.environ, limit_s=pod.runpodctl_s)
        except OSError as problem:
            return Answer(False, "runpodctl", f"runpodctl can't be started: {problem.strerror}.")
        if outcome.done and not FAILED.search(outcome.text):
            return Answer(True, "runpodctl")
        if outcome.ended:
            return Answer(False, "runpodctl", f"runpodctl was ended: {outcome.ended}.")
        text = outcome.text
        if "unknown command" not in text:
            break
    return Answer(False, "runpodctl", f"runpodctl failed: {_reason(text, pod)}.")


def _by_rest(pod: Pod, action: Action) -> Answer:
    method, path = ("POST", f"/pods/{pod.id}/stop") if action == "stop" else ("DELETE", f"/pods/{pod.id}")
    answer = _request(pod, method, path)
    return Answer(False, "REST", answer) if isinstance(answer, str) else Answer(True, "REST")


def _request(pod: Pod, method: str, path: str) -> dict[str, Any] | list[Any] | str:
    """Return Runpod's answer ({} where it says nothing), or a sentence that tells what went wrong."""
    import httpx

    try:
        with httpx.Client(timeout=pod.rest_s) as client:
            headers = {"Authorization": f"Bearer {pod.key}"}
            response = client.request(method, pod.rest_url + path, headers=headers)
    except (httpx.LocalProtocolError, httpx.InvalidURL, UnicodeError):
        # Their own words would quote the key.
        return "RUNPOD_API_KEY or RUNPOD_REST_URL holds a character that can't be sent."
    except httpx.HTTPError as problem:
        reason = _clean(str(problem) or type(problem).__name__, pod)
        return f"Runpod's REST interface can't be reached: {reason}."
    if response.is_success:
        try:
            found = response.json()
        except ValueError:
            return {}
        return found if isinstance(found, dict | list) else {}
    status = response.status_code
    return STATUS_WORDS.get(status, f"Runpod answered {status}") + "."


def _reason(text: str, pod: Pod) -> str:
    """Return the error in runpodctl's output: a JSON object (2), a line `Error: ...` (1), else nothing of it."""
    for line in reversed(text.splitlines()):
        try:
            found = json.loads(line)
        except ValueError:
            found = None
        if isinstance(found, dict) and "error" in found:
            return _clean(str(found["error"]), pod)
        if line.startswith("Error:") or FAILED.match(line):
            return _clean(line.removeprefix("Error:"), pod)
    return "it did not say why"


def _clean(text: str, pod: Pod) -> str:
    return scrub(text, [pod.key] if pod.key else []).strip().rstrip(".")[:SHOWN_CHARACTERS]


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if 0 < number < 1e9 else None


def _moment(value: object) -> float | None:
    try:
        return datetime.fromisoformat(str(value)).timestamp()
    except ValueError:
        return None
