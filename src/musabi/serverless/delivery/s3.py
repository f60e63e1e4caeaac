"""A result goes to a bucket as a zip, in parts; who has the signed link may fetch it for seven days."""

from dataclasses import replace
from urllib.parse import urlsplit

from musabi.errors import MachineError, MusabiError, RequestError
from musabi.hub.destination import S3Place, s3_place
from musabi.hub.guarded import check_host
from musabi.hub.s3 import Bucket
from musabi.serverless.context import Context
from musabi.serverless.delivery.request_words import in_request_words
from musabi.serverless.delivery.way import AgainError, Handover
from musabi.serverless.parts import Delivery
from musabi.serverless.request.secrets import S3_ACCESS_KEY, S3_SECRET_KEY

NAME = "s3"
TITLE = "S3"
LINK_DAYS = 7
"""Seven days are the most that a signed link may be valid (AWS Signature Version 4)."""
RUNPOD_HOSTS = ("s3api-", ".runpod.io")
"""How the hosts of Runpod's volume API begin and end; it knows no signed links (docs.runpod.io/storage/s3-api)."""


def send(handover: Handover) -> Delivery:
    """Send the archive and return its signed link.

    Raises:
        RequestError: bucket, address or keys are wrong.
        MachineError: the server can't be reached.
        Cancelled: the job shall end.
    """
    context, archive = handover.context, handover.archive
    place = place_of(context)
    key = place.key(archive.name)
    message = "Uploading to S3..."
    context.tell("uploading", message, progress=0.0)

    def put() -> Bucket:
        try:
            bucket = bucket_of(context, place)
            bucket.drop_unfinished(place.prefix, [key])
            bucket.put(key, archive, handover.moved(message, archive.size))
        except MachineError as problem:
            raise AgainError(in_request_words(str(problem))) from None
        except RequestError as problem:
            raise in_words(problem) from None
        return bucket

    bucket = handover.persist(TITLE, put)
    about = Delivery(
        NAME, archive_size_mb=handover.archive_mb, files=tuple(one.name for one in handover.pieces)
    )
    return _with_link(about, bucket, place, key)


def require(context: Context) -> None:
    """Find out before the training whether the bucket is there and the keys are known.

    Raises:
        RequestError: they are not, or the address is refused.
        MachineError: the address can't be looked up.
    """
    asked = context.request.output.s3
    try:
        place = place_of(context)
        if asked and asked.endpoint_url:
            check_host(asked.endpoint_url)
    except MusabiError as problem:
        raise in_words(problem) from None
    try:
        bucket_of(context, place).require(place.prefix)
    except RequestError as problem:
        raise in_words(problem) from None
    except MachineError as problem:  # a server that is down now may be up when there is something to upload
        context.say(f"S3: {in_words(problem)} It is tried again when there is something to upload.")


def place_of(context: Context) -> S3Place:
    """Return the bucket and prefix that a request asks for.

    Raises:
        RequestError: it asks for none, or they can't be right.
    """
    asked = context.request.output.s3
    if asked is None:
        raise RequestError("Uploading to S3 needs output.s3: bucket, access_key and secret_key.")
    try:
        return s3_place(f"s3://{asked.bucket}/{asked.key_prefix}".rstrip("/"))
    except RequestError:
        raise RequestError(
            "output.s3.bucket or output.s3.key_prefix can't be right. A bucket's name has 3 to 63 letters, "
            "digits, dots and dashes; a prefix is parts joined by single slashes."
        ) from None


def bucket_of(context: Context, place: S3Place) -> Bucket:
    """Return the bucket, reached by public addresses alone, with the request's own keys.

    Raises:
        RequestError: the keys are missing, or endpoint_url or region can't be right.
    """
    asked = context.request.output.s3
    environ = {
        "AWS_ACCESS_KEY_ID": context.secrets.get(S3_ACCESS_KEY, ""),
        "AWS_SECRET_ACCESS_KEY": context.secrets.get(S3_SECRET_KEY, ""),
        "AWS_ENDPOINT_URL": (asked.endpoint_url if asked else None) or "",
        "AWS_REGION": (asked.region if asked else None) or "",
    }
    return Bucket(place.bucket, environ, guarded=True)


def in_words(problem: MusabiError) -> MusabiError:
    """Return an error in the words of a request."""
    return type(problem)(in_request_words(str(problem)))


def _with_link(about: Delivery, bucket: Bucket, place: S3Place, key: str) -> Delivery:
    host = urlsplit(bucket.endpoint or "").hostname or ""
    if host.startswith(RUNPOD_HOSTS[0]) and host.endswith(RUNPOD_HOSTS[1]):
        note = f"Runpod's volume API makes no links. The file is {key} on the volume {place.bucket}."
        return replace(about, note=note)
    link = bucket.signed_link(key, LINK_DAYS * 24 * 3600)
    return replace(about, download_url=link, expires_in_days=LINK_DAYS)
