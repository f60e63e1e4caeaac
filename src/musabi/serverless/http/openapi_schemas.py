"""The shapes of requests and answers, as JSON Schema."""

from typing import Any

from musabi.serverless.queue.states import State

ANYTHING: dict[str, Any] = {}
COUNT = {"type": "integer", "minimum": 0}
STATE = {"type": "string", "enum": [state.value for state in State]}
JOB_COUNTS = ("completed", "failed", "inProgress", "inQueue", "retried")
WORKER_COUNTS = ("idle", "initializing", "ready", "running", "throttled", "unhealthy")


def _object(properties: dict[str, Any], required: tuple[str, ...] = (), **more: Any) -> dict[str, Any]:  # noqa: ANN401
    return {"type": "object", "properties": properties, "required": list(required)} | more


def _counts(names: tuple[str, ...]) -> dict[str, Any]:
    return _object(dict.fromkeys(names, COUNT), names)


def _moment(description: str) -> dict[str, Any]:
    return {"type": "number", "description": f"{description}, Unix seconds"}


def _milliseconds(least: int, description: str) -> dict[str, Any]:
    return {"type": ["number", "null"], "minimum": least, "maximum": 604_800_000, "description": description}


SCHEMAS: dict[str, dict[str, Any]] = {
    "Request": _object(
        {
            "input": {
                "description": "What to train, on which dataset, and where the LoRA goes. A job whose input is wrong "
                "fails at once, and its status says why."
            },
            "webhook": {
                "type": ["string", "null"],
                "maxLength": 2048,
                "description": "https address that gets a POST of the status when the job has ended; 200 is expected, "
                "else it is called twice more, 10 s apart.",
            },
            "policy": {
                "type": ["object", "null"],
                "description": "Limits in milliseconds; a job has none unless asked for. executionTimeout: 5 s to "
                "7 days of work. ttl: 10 s to 7 days since it was sent, then nothing is known of it any more. "
                "lowPriority: behind all others.",
                "properties": {
                    "executionTimeout": _milliseconds(5_000, "of work"),
                    "ttl": _milliseconds(10_000, "since it was sent"),
                    "lowPriority": {"type": "boolean"},
                },
            },
            "s3Config": {
                "description": "Where the LoRA goes if the input has no output.s3 and its method is s3 or auto: "
                "endpointUrl, bucketName, accessId, accessSecret."
            },
        },
        ("input",),
    ),
    "Retry": _object(
        {
            "input": {
                "type": "object",
                "description": "The secrets of the first request at their places, where the server has them no more.",
            }
        }
    ),
    "Submitted": _object(
        {"id": {"type": "string"}, "status": STATE}, ("id", "status"), additionalProperties=False
    ),
    "Status": _object(
        {
            "id": {"type": "string"},
            "status": STATE,
            "delayTime": COUNT | {"description": "milliseconds in the queue"},
            "executionTime": COUNT | {"description": "milliseconds of work"},
            "output": {"description": "the progress while the job goes on, then its answer"},
            "error": {"type": "string", "description": "what went wrong"},
            "retries": COUNT | {"description": "how often it was sent again"},
        },
        ("id", "status"),
        additionalProperties=False,
    ),
    "Jobs": _object(
        {
            "jobs": {"type": "array", "items": {"$ref": "#/components/schemas/Job"}},
            "next": COUNT | {"description": "what to send as before to see older ones, where there are any"},
        },
        ("jobs",),
        additionalProperties=False,
    ),
    "Job": _object(
        {
            "id": {"type": "string"},
            "status": STATE,
            "model": {"type": "string", "description": "model_type of the input"},
            "method": {
                "type": "string",
                "description": "how the LoRA is handed over: output.method of the input",
            },
            "destination": {"type": "string", "description": "the repository, or the bucket and its folder"},
            "created": _moment("when it was sent, or sent again"),
            "started": _moment("when the work on it began"),
            "ended": _moment("when it ended"),
            "seconds": {"type": "number", "minimum": 0, "description": "seconds of work"},
            "progress": {"type": "object", "description": "what it said last, while it goes on"},
            "result": {"type": "object", "description": "where its files are, once it went well"},
            "error": {"type": "string", "description": "what went wrong"},
            "retries": COUNT | {"description": "how often it was sent again"},
        },
        ("id", "status", "created"),
        additionalProperties=False,
    ),
    "Stream": _object(
        {"status": STATE, "stream": {"type": "array", "items": _object({"output": ANYTHING}, ("output",))}},
        ("status", "stream"),
        additionalProperties=False,
    ),
    "Purged": _object({"removed": COUNT, "status": {"type": "string"}}, ("removed", "status")),
    "Health": _object({"jobs": _counts(JOB_COUNTS), "workers": _counts(WORKER_COUNTS)}, ("jobs", "workers")),
    "Error": _object({"error": {"type": "string"}}, ("error",), additionalProperties=False),
}
