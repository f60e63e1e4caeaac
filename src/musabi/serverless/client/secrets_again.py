"""What a retry brings to `musabi serve`: the secrets of the request, which are kept there for a while only."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from musabi.errors import RequestError
from musabi.serverless.client.remembered import KnownJob
from musabi.serverless.client.submission import read_submission
from musabi.serverless.http.envelope import with_s3_config
from musabi.serverless.request.secrets import ADDRESS_PATHS, split_secrets

NOT_READ = "{name}: {file}, from which it was submitted, can't be read any more, so no secrets were sent."


def secrets_in_file(file: Path, images: str | None = None, videos: str | None = None) -> dict[str, str]:
    """Return the secrets of a request file by their paths; of a job file those of the addresses.

    Raises:
        RequestError: the file can't be read.
    """
    body = read_submission(file, images, videos).body
    return split_secrets(with_s3_config(body["input"], body.get("s3Config")))[1]


def remembered_secrets(job: KnownJob) -> tuple[dict[str, str], str | None]:
    """Return the secrets of the file that a job was submitted from, and a sentence where it can't be read."""
    if job.file is None or job.file.lower().endswith(".toml"):  # a job file holds none
        return {}, None
    try:
        found = secrets_in_file(Path(job.file))
    except (RequestError, OSError):
        return {}, NOT_READ.format(name=job.name, file=job.file)
    if not job.dataset_in_file:  # what the file says of the dataset is not what was sent
        found = {path: text for path, text in found.items() if path not in ADDRESS_PATHS}
    return found, None


def retry_body(secrets: Mapping[str, str]) -> dict[str, Any] | None:
    """Return what /retry takes: an input with each secret at its path and nothing else; None for no secrets."""
    given: dict[str, Any] = {}
    for path, text in secrets.items():
        *above, name = path.split(".")
        place = given
        for part in above:
            place = place.setdefault(part, {})
        place[name] = text
    return {"input": given} if given else None
