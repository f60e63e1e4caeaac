"""To whom the endpoint's own S3 keys may be shown: Amazon, and the server that the endpoint itself names.

S3 sends the id of a key as it stands. A request that names a server of its own must bring keys for it.
"""

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

AMAZON = re.compile(
    r"s3(-accelerate|-fips)?(\.dualstack)?([.-][a-z]{2}(-[a-z]+)+-\d)?\.amazonaws\.com(\.cn)?"
)
"""The hosts of Amazon S3 itself; others below amazonaws.com are its customers'."""
OWN_SERVERS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
PORTS = {"https": 443, "http": 80}


def own_keys_may_go(url: object, environ: Mapping[str, str]) -> bool:
    """Tell whether the endpoint's own keys may be used at output.s3.endpoint_url; Amazon where it is none."""
    if url is None or url == "":
        return True
    server = server_of(url)
    if server is None:
        return False
    scheme, host, _ = server
    if scheme == "https" and AMAZON.fullmatch(host):
        return True
    return server in {server_of(environ.get(name)) for name in OWN_SERVERS}


def server_of(url: object) -> tuple[str, str, int] | None:
    """Return scheme, host and port of an address, None where it has none."""
    try:
        parts = urlsplit(url.strip()) if isinstance(url, str) else None
        if parts is None or not parts.hostname or parts.scheme not in PORTS:
            return None
        return parts.scheme, parts.hostname.lower(), parts.port or PORTS[parts.scheme]
    except ValueError:
        return None
