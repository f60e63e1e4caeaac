"""Who may speak to `musabi serve`: holders of its key, or without one programs of this machine alone."""

import hashlib
import hmac
import ipaddress
from collections.abc import Mapping

from musabi.errors import RequestError

OPEN_PATHS = frozenset({"/", "/docs", "/openapi.json"})
"""Pages that say nothing of jobs."""
LONGEST_KEY = 4096


def require_loopback_or_key(host: str, key: str | None) -> None:
    """Refuse to listen where others reach it without a key.

    Raises:
        RequestError: it would.
    """
    if key is None and not is_loopback(host):
        raise RequestError(
            f"Without a key musabi serve listens on this machine alone, not on {host}. "
            "Set MUSABI_API_KEY to a long random text, then start it again."
        )


def require_plain_key(key: str | None) -> None:
    """Refuse a key that no client's header would match: the bytes of other letters differ from client to client.

    Raises:
        RequestError: it holds more than plain ASCII letters, digits and signs, or spaces around them.
    """
    if key is not None and not (key.isascii() and key.isprintable() and key == key.strip()):
        raise RequestError(
            "MUSABI_API_KEY holds a sign that can't be sent in a header. Make it of plain letters (a-z), digits "
            "and signs such as - and _, without spaces around it."
        )


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine, reached from this machine alone."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.removeprefix("[").removesuffix("]")).is_loopback
    except ValueError:
        return False


def refusal(headers: Mapping[str, str], path: str, key: str | None) -> tuple[int, str] | None:
    """Return (status, what is wrong) of a request that may not pass, else None. Header names are lower case.

    Without a key, a page of another site that a browser on this machine shows must not get through, be it one of
    another port here: its requests bear its own name in Host (DNS rebinding) or in Origin.
    """
    if key is not None:
        if path in OPEN_PATHS or matches(headers.get("authorization", ""), key):
            return None
        return (
            401,
            "The key is missing or wrong. Send the header Authorization: Bearer KEY with MUSABI_API_KEY's value.",
        )
    host, origin = headers.get("host", ""), headers.get("origin")
    if not is_loopback(host_of(host)) or (origin is not None and not is_origin_of(origin, host)):
        return (
            401,
            "Without a key only programs of this machine are answered, by the name localhost or 127.0.0.1, and no "
            "page of another server.",
        )
    return None


def is_origin_of(origin: str, host: str) -> bool:
    """Tell whether a page's Origin is that of the server that the Host header names; port 80 may be left out."""
    scheme, _, authority = origin.strip().lower().partition("://")
    return scheme in ("http", "https") and authority.removesuffix(":80") == host.strip().lower().removesuffix(
        ":80"
    )


def matches(authorization: str, key: str) -> bool:
    """Tell whether the header holds the key, with Bearer before it or bare; takes as long for every wrong one."""
    given = authorization.strip()[:LONGEST_KEY]
    scheme, _, rest = given.partition(" ")
    text = rest.strip() if scheme.lower() == "bearer" else given
    return hmac.compare_digest(_digest(text), _digest(key))


def host_of(authority: str) -> str:
    """Return the host of "host:port" without its port; an IPv6 address keeps its brackets."""
    host = authority.strip().partition("/")[0]
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0]


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode(errors="surrogateescape")).digest()
