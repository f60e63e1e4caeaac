"""Objects in S3 and what speaks like it (R2, MinIO, Backblaze, Runpod's volumes), through boto3.

Who asks is told by environment variables alone: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN,
AWS_REGION, and AWS_ENDPOINT_URL (or AWS_ENDPOINT_URL_S3) for another provider than Amazon.
"""

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from musabi.errors import MachineError, MusabiError, RequestError
from musabi.hub.destination import S3Place
from musabi.hub.listing import gigabytes
from musabi.hub.parcel import Piece, Sent

PART_BYTES = 16 * 1024**2
"""Size of a part of a large upload; S3 takes from 5 MiB on, and at most 10,000 parts."""
SHA256 = "musabi-sha256"
SAY_SECONDS = 5.0
CONTENT_TYPES = {
    ".md": "text/markdown; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
    ".zip": "application/zip",
}
MISSING = frozenset({"404", "NoSuchKey", "NotFound"})
DENIED = frozenset({"AccessDenied", "403", "AllAccessDisabled"})


@dataclass(frozen=True)
class Reply:
    """A row: error codes, and what to say. A `request` error is the person's to mend, others the machine's."""

    codes: frozenset[str]
    message: str
    request: bool = True


REPLIES: tuple[Reply, ...] = (
    Reply(
        frozenset({"NoSuchBucket"}), "There is no bucket {bucket} at {endpoint}. Make it, or check the name."
    ),
    Reply(
        frozenset({"InvalidAccessKeyId", "SignatureDoesNotMatch", "AuthorizationHeaderMalformed", "401"}),
        "{endpoint} refused AWS_ACCESS_KEY_ID or AWS_SECRET_ACCESS_KEY. Check both, and AWS_REGION.",
    ),
    Reply(
        frozenset({"ExpiredToken", "InvalidToken", "RequestExpired"}),
        "The credentials for {endpoint} have run out. Set new ones, then start again.",
    ),
    Reply(
        DENIED,
        "The credentials may not do this in {bucket}. Give them the right to list, read and write there.",
    ),
    Reply(frozenset({"404", "NoSuchKey", "NotFound"}), "{what} is not there. Check the name."),
    Reply(
        frozenset({"RequestTimeTooSkewed"}),
        "This machine's clock is wrong, so {endpoint} refused it. Set the clock, then start again.",
        request=False,
    ),
    Reply(
        frozenset({"NoSpace", "QuotaExceeded", "InsufficientStorage", "507"}),
        "{bucket} has no room left. Make room there, then start again.",
        request=False,
    ),
)
UNKNOWN = Reply(frozenset(), "{endpoint} refused it ({code}). Check the bucket and its rules.", request=False)
UNREACHED = (
    "{endpoint} can't be reached, or the connection broke several times. "
    "Check AWS_ENDPOINT_URL and the network."
)


@dataclass(frozen=True)
class Object:
    """An object in a bucket: its key and its size in bytes."""

    key: str
    size: int


class Bucket:
    """One bucket as the environment gives access to it.

    Raises (every method):
        RequestError: the bucket, a key or the credentials are wrong.
        MachineError: boto3 is missing, or the server can't be reached.
    """

    def __init__(
        self, name: str, environ: Mapping[str, str], *, unsigned: bool = False, guarded: bool = False
    ) -> None:
        """`unsigned`: without credentials, ask as anybody may instead of refusing.

        `guarded`: the endpoint is a stranger's word, so only addresses of the public internet are asked.
        """
        self.name = name
        self.endpoint = environ.get("AWS_ENDPOINT_URL_S3") or environ.get("AWS_ENDPOINT_URL") or None
        self._client = _client(environ, self.endpoint, unsigned)
        if guarded:
            from musabi.hub.guarded_boto import guard

            guard(self._client)

    def require(self, prefix: str) -> None:
        """Refuse a bucket that is not there or keys that are not known; keys that may only write are let through."""
        with contextlib.suppress(KeyError), self._plain(prefix, passes=DENIED):
            self._client.list_objects_v2(Bucket=self.name, Prefix=prefix, MaxKeys=1)

    def signed_link(self, key: str, seconds: int) -> str:
        """Return an address by which anybody may fetch an object for so long; nothing is sent for it."""
        with self._plain(key):
            link = self._client.generate_presigned_url(
                "get_object", Params={"Bucket": self.name, "Key": key}, ExpiresIn=seconds
            )
        return str(link)

    def head(self, key: str) -> tuple[int, str | None] | None:
        """Return (size in bytes, sha256 where musabi wrote it) of an object, or None where there is none."""
        try:
            with self._plain(key, passes=MISSING):
                answer = self._client.head_object(Bucket=self.name, Key=key)
        except KeyError:
            return None
        return int(answer["ContentLength"]), answer.get("Metadata", {}).get(SHA256)

    def listing(self, prefix: str) -> Iterator[Object]:
        """Yield the objects whose keys begin with `prefix`."""
        with self._plain(prefix):
            for page in self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self.name, Prefix=prefix
            ):
                for one in page.get("Contents", ()):
                    yield Object(one["Key"], int(one["Size"]))

    def get(self, key: str, target: Path, moved: Callable[[int], None] = lambda _count: None) -> None:
        """Fetch an object into a file; `moved` gets the bytes of each part, from several threads."""
        with self._plain(key):
            self._client.download_file(self.name, key, str(target), Callback=moved, Config=_parts())

    def put(self, key: str, one: Piece, moved: Callable[[int], None] = lambda _count: None) -> None:
        """Send a file; the object appears whole, with its sha256 noted."""
        kind = CONTENT_TYPES.get(one.path.suffix.lower(), "application/octet-stream")
        extra = {"ContentType": kind, "Metadata": {SHA256: one.sha256}}
        with self._plain(key):
            self._client.upload_file(
                str(one.path), self.name, key, ExtraArgs=extra, Callback=moved, Config=_parts()
            )

    def drop_unfinished(self, prefix: str, keys: Sequence[str]) -> None:
        """End what killed uploads of these keys, all below `prefix`, left behind: unseen, and paid for."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            found = self._client.list_multipart_uploads(Bucket=self.name, Prefix=prefix)
            for one in found.get("Uploads", ()):
                if one["Key"] in keys:
                    self._client.abort_multipart_upload(
                        Bucket=self.name, Key=one["Key"], UploadId=one["UploadId"]
                    )
        except (ClientError, BotoCoreError):
            return  # not every key may list uploads, and not every server can; what is sent next shows the rest

    @contextmanager
    def _plain(self, what: str, passes: frozenset[str] = frozenset()) -> Iterator[None]:
        """Turn boto3's errors into plain ones; those whose code is in `passes` become a KeyError."""
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except (ClientError, Boto3Error) as error:
            link = error if isinstance(error, ClientError) else error.__cause__ or error.__context__
            code = _code(link) if isinstance(link, ClientError) else _code_in(str(error))
            if code in passes:
                raise KeyError(what) from None
            raise self._said(code, what) from None
        except BotoCoreError:
            raise MachineError(UNREACHED.format(endpoint=self.endpoint or "Amazon S3")) from None

    def _said(self, code: str, what: str) -> MusabiError:
        row = next((row for row in REPLIES if code in row.codes), UNKNOWN)
        text = row.message.format(
            bucket=self.name,
            endpoint=self.endpoint or "Amazon S3",
            what=f"s3://{self.name}/{what}",
            code=code,
        )
        return RequestError(text) if row.request else MachineError(text)


def send_to_s3(
    pieces: Sequence[Piece], place: S3Place, environ: Mapping[str, str], say: Callable[[str], None]
) -> Sent:
    """Send what is not there yet with the same content.

    Raises:
        RequestError, MachineError: as `Bucket`.
    """
    bucket = Bucket(place.bucket, environ)
    keys = {one.name: place.key(one.name) for one in pieces}
    changed = [one for one in pieces if bucket.head(keys[one.name]) != (one.size, one.sha256)]
    bucket.drop_unfinished(place.prefix, [keys[one.name] for one in changed])
    for one in changed:
        bucket.put(keys[one.name], one, Told(one.name, one.size, say))
    names = {one.name for one in changed}
    return Sent(
        str(place),
        tuple(one.name for one in changed),
        tuple(one.name for one in pieces if one.name not in names),
    )


class Told:
    """Says now and then how far a transfer is; called by boto3's threads with the bytes of each part."""

    def __init__(self, name: str, size: int, say: Callable[[str], None]) -> None:
        self._name, self._size, self._say = name, size, say
        self._done = 0
        self._said = time.monotonic()
        self._lock = threading.Lock()

    def __call__(self, count: int) -> None:
        with self._lock:
            self._done += count
            if time.monotonic() - self._said > SAY_SECONDS:
                self._said = time.monotonic()
                self._say(f"{self._name}: {gigabytes(self._done)} of {gigabytes(self._size)}")


def _client(environ: Mapping[str, str], endpoint: str | None, unsigned: bool) -> Any:  # noqa: ANN401 - boto3 has no types
    try:
        import boto3
        import botocore.session
        from botocore import UNSIGNED
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError
    except ImportError:
        raise MachineError("S3 needs boto3, which is not installed. Run: pip install 'musabi[s3]'") from None
    key, secret = environ.get("AWS_ACCESS_KEY_ID"), environ.get("AWS_SECRET_ACCESS_KEY")
    if not (key and secret) and not unsigned:
        raise RequestError(
            "S3 needs AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment. Set both, and "
            "AWS_ENDPOINT_URL for another provider than Amazon."
        )
    # Neither files in the home folder nor a machine's own role: only what was set for this.
    none = dict.fromkeys(("config_file", "credentials_file"), (None, None, os.devnull, None))
    session = botocore.session.Session(session_vars={"profile": (None, None, None, None), **none})
    # Links are signed in the old way otherwise, which other providers than Amazon don't know.
    more: dict[str, Any] = {"signature_version": "s3v4" if key and secret else UNSIGNED}
    if endpoint:  # others than Amazon don't all know the checksums that boto3 adds by itself
        more |= {
            "request_checksum_calculation": "when_required",
            "response_checksum_validation": "when_required",
        }
    try:
        return boto3.session.Session(
            aws_access_key_id=key if secret else None,
            aws_secret_access_key=secret if key else None,
            aws_session_token=(environ.get("AWS_SESSION_TOKEN") or None) if key and secret else None,
            region_name=environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or "us-east-1",
            botocore_session=session,
        ).client(
            "s3",
            endpoint_url=endpoint,
            config=Config(
                connect_timeout=20,
                read_timeout=60,
                retries={"mode": "standard", "total_max_attempts": 5},
                ignore_configured_endpoint_urls=True,
                **more,
            ),
        )
    except (ValueError, BotoCoreError) as wrong:
        raise RequestError(
            f"AWS_ENDPOINT_URL or AWS_REGION can't be right ({wrong}). Correct or unset it."
        ) from None


def _parts() -> Any:  # noqa: ANN401 - boto3 has no types
    from boto3.s3.transfer import TransferConfig

    return TransferConfig(multipart_threshold=PART_BYTES, multipart_chunksize=PART_BYTES, max_concurrency=8)


def _code(error: Any) -> str:  # noqa: ANN401 - boto3 has no types
    return str(error.response.get("Error", {}).get("Code") or "no code")


def _code_in(text: str) -> str:
    """Return the code in "An error occurred (CODE) when calling ...": boto3's transfers raise only text."""
    return text.partition("An error occurred (")[2].partition(")")[0] or "no code"
