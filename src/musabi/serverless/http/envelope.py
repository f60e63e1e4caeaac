"""What stands around `input` in a request: webhook, policy, s3Config, as Runpod takes them."""

from dataclasses import dataclass
from typing import Any

from musabi.errors import RequestError
from musabi.hub.addresses import require_form
from musabi.serverless.http.limits import BadRequest

WEEK_MS = 7 * 86_400_000
POLICY_MS = {"executionTimeout": (5_000, WEEK_MS), "ttl": (10_000, WEEK_MS)}
"""What Runpod takes, in milliseconds. It has defaults (10 minutes, a day); here a job has no limit unless asked for."""
S3_CONFIG = {
    "endpointUrl": "endpoint_url",
    "bucketName": "bucket",
    "accessId": "access_key",
    "accessSecret": "secret_key",
}
"""Runpod's s3Config, and what the same is called in input.output.s3."""
LONGEST_URL = 2048


@dataclass(frozen=True)
class Envelope:
    """A request, taken apart. `input` holds its secrets still; times are seconds, None where not asked for."""

    input: Any
    webhook: str | None = None
    execution_s: float | None = None
    ttl_s: float | None = None
    low: bool = False


def read_envelope(body: dict[str, Any]) -> Envelope:
    """Return a request's parts. What Runpod takes besides (such as an id) means nothing here.

    Raises:
        BadRequest: there is no input, or a part is wrong.
    """
    if "input" not in body:
        raise BadRequest('The request has no "input". Send {"input": {"model_type": ..., "dataset": ...}}.')
    policy = body.get("policy")
    if policy is None:
        policy = {}
    if not isinstance(policy, dict):
        raise BadRequest('"policy" must be an object, such as {"executionTimeout": 86400000}.')
    low = policy.get("lowPriority", False)
    if not isinstance(low, bool):
        raise BadRequest("policy.lowPriority must be true or false.")
    return Envelope(
        input=with_s3_config(body["input"], body.get("s3Config")),
        webhook=_webhook(body.get("webhook")),
        execution_s=_seconds(policy, "executionTimeout"),
        ttl_s=_seconds(policy, "ttl"),
        low=low,
    )


def with_s3_config(given: Any, config: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Return the input with s3Config as its output.s3, where it has none and its method may use one."""
    if not isinstance(config, dict) or not isinstance(given, dict):
        return given
    output = given.get("output", {})
    usable = (
        isinstance(output, dict) and output.get("method", "auto") in ("auto", "s3") and not output.get("s3")
    )
    values = {
        ours: config[theirs] for theirs, ours in S3_CONFIG.items() if isinstance(config.get(theirs), str)
    }
    if not usable or not values:
        return given
    return given | {"output": output | {"s3": values}}


def _webhook(value: Any) -> str | None:  # noqa: ANN401 - any JSON value
    if value is None or value == "":
        return None
    if not (
        isinstance(value, str) and len(value) <= LONGEST_URL and value.isprintable() and _has_form(value)
    ):
        raise BadRequest(
            f'"webhook" must be an https:// address of at most {LONGEST_URL} characters, without a user or '
            "password in it."
        )
    return value


def _has_form(url: str) -> bool:
    try:
        return require_form(url)[0] == "https"
    except RequestError:
        return False


def _seconds(policy: dict[str, Any], name: str) -> float | None:
    value = policy.get(name)
    if value is None:
        return None
    least, most = POLICY_MS[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise BadRequest(
            f"policy.{name} is in milliseconds, from {least} ({least // 1000} s) to {most} (7 days). "
            "Leave it out for no limit."
        )
    return float(value) / 1000
