"""Which addresses on the network may be asked for a file that a person, or a stranger over HTTP, names.

A name is looked up when it is connected to, every address that it has is checked, and the connection goes to a
checked one (`guarded`): a name that answers differently the second time leads nowhere else.
"""

import ipaddress
import socket
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from musabi.errors import MachineError, RequestError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], list[str]]
"""Returns the addresses of a host and port; raises OSError where there are none."""
NAT64 = ipaddress.ip_network("64:ff9b::/96")
UNICAST = ipaddress.ip_network("2000::/3")
"""All that IPv6 has of public addresses (IANA, IPv6 Global Unicast Address Assignments)."""
NEVER = tuple(
    ipaddress.ip_network(one)
    for one in (
        "168.63.129.16/32",  # Azure's own services, metadata among them, behind an address that looks public
        "192.0.0.0/24",  # special purposes (RFC 6890); Oracle's metadata lies in it
        "192.88.99.0/24",  # relays of 6to4 (RFC 7526)
        "2001::/23",  # special purposes (RFC 2928), Teredo among them
        "3fff::/20",  # documentation (RFC 9637), which Python 3.11 does not know
    )
)
"""Addresses that look public to Python's ipaddress and are not asked all the same."""
PORTS = {"https": 443, "http": 80}


class PrivateAddressError(RequestError):
    """A name leads to an address that is not one of the public internet."""


@dataclass(frozen=True)
class Checked:
    """A URL whose host may be asked, and the first address that it has. `host` is as DNS knows it."""

    url: str
    host: str
    port: int
    address: str


def look_up(host: str, port: int) -> list[str]:
    """Return the addresses of a host.

    Raises:
        OSError: it has none.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]).partition("%")[0] for entry in found))


def check_address(url: str, *, allow_private: bool = False, resolve: Resolve = look_up) -> Checked:
    """Return the URL with an address that may be connected to.

    https anywhere on the public internet. With `allow_private` also addresses of this machine and its
    network, and there http too.

    Raises:
        RequestError: the URL can't be right, or leads where it must not.
        MachineError: its host can't be looked up.
    """
    scheme, host, port = require_form(url)
    addresses = allowed(scheme, host, port, allow_private=allow_private, resolve=resolve)
    return Checked(url, host, port, addresses[0])


def require_form(url: str) -> tuple[str, str, int]:
    """Return the scheme, host and port of a URL of a file; nothing is looked up.

    Raises:
        RequestError: it is no https or http URL, has no host, or a user or password in it.
    """
    parts, host, port = _split(url)
    return parts.scheme.lower(), host, port


def allowed(
    scheme: str, host: str, port: int, *, allow_private: bool = False, resolve: Resolve = look_up
) -> list[str]:
    """Look a host up once and return its addresses, all of which may be connected to by this scheme.

    Raises:
        RequestError: one of them must not be connected to.
        MachineError: there is none.
    """
    try:
        addresses = [ipaddress.ip_address(one) for one in resolve(host, port)]
    except (OSError, ValueError):
        raise MachineError(
            f"The name {host} can't be looked up. Check how it is spelled, and that this machine has DNS."
        ) from None
    if not addresses:
        raise MachineError(f"The name {host} has no address. Check how it is spelled.")
    private = [one for one in addresses if not is_public(one)]
    if private and not allow_private:
        raise PrivateAddressError(f"{host} is an address inside a private network, which is not asked.")
    if len(private) < len(addresses):
        require_encryption(scheme, host)
    return [str(one) for one in addresses]


def require_encryption(scheme: str, host: str) -> None:
    """Refuse a scheme that is not to be used on the public internet.

    Raises:
        RequestError: it is http.
    """
    if scheme == "http":
        raise RequestError(f"http://{host} is not encrypted. Use its https:// address.")


def is_public(address: Address) -> bool:
    """Tell whether an address is one of the public internet; one that is wrapped in IPv6 is unwrapped first."""
    inner = _inner(address)
    if any(inner in network for network in NEVER):
        return False
    if isinstance(inner, ipaddress.IPv6Address) and inner not in UNICAST:
        return False
    return inner.is_global and not (inner.is_multicast or inner.is_reserved)


def shown(url: str) -> str:
    """Return a URL fit for a message: no user, no password, no query (presigned URLs carry their key there)."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "the address"
    return f"{parts.scheme}://{host}{port}{parts.path}"


def _inner(address: Address) -> Address:
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


def _split(url: str) -> tuple[SplitResult, str, int]:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise RequestError("That is no address. Write it as https://HOST/PATH.") from None
    scheme = parts.scheme.lower()
    if scheme not in PORTS or not host:
        raise RequestError(f"{shown(url)} is no address of a file. Write it as https://HOST/PATH.")
    if parts.username is not None or parts.password is not None:
        raise RequestError(
            f"{shown(url)} has a user or password in it, which would end up in logs. Use an address without."
        )
    return parts, _ascii(host), port or PORTS[scheme]


def _ascii(host: str) -> str:
    """Return the name as DNS, TLS and HTTP know it: letters beyond ASCII are encoded (IDNA, RFC 5891)."""
    if host.isascii():
        return host
    import httpx

    try:
        return httpx.URL(scheme="https", host=host).raw_host.decode("ascii")
    except httpx.InvalidURL:
        raise RequestError(f"{host} is no name of a host. Check how it is spelled.") from None
