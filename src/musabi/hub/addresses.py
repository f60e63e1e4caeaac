"""Which addresses on the network may be asked for a file that a person, or a stranger over HTTP, names.

A name is looked up once, every address that it has is checked, and the connection goes to a checked one: a
name that answers differently the second time leads nowhere else.
"""

import ipaddress
import socket
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from musabi.errors import MachineError, RequestError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
NAT64 = ipaddress.ip_network("64:ff9b::/96")
PORTS = {"https": 443, "http": 80}


@dataclass(frozen=True)
class Checked:
    """A URL whose host may be asked, and the address to connect to."""

    url: str
    host: str
    port: int
    address: str

    @property
    def by_address(self) -> str:
        """The URL with the checked address in place of the name."""
        parts = urlsplit(self.url)
        literal = f"[{self.address}]" if ":" in self.address else self.address
        return parts._replace(netloc=f"{literal}:{self.port}", fragment="").geturl()

    @property
    def host_header(self) -> str:
        """The Host header that the name's server expects (RFC 9110, 7.2)."""
        literal = f"[{self.host}]" if ":" in self.host else self.host
        usual = PORTS[urlsplit(self.url).scheme.lower()]
        return literal if self.port == usual else f"{literal}:{self.port}"


def look_up(host: str, port: int) -> list[str]:
    """Return the addresses of a host.

    Raises:
        OSError: it has none.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]).partition("%")[0] for entry in found))


def check_address(
    url: str, *, allow_private: bool = False, resolve: Callable[[str, int], list[str]] = look_up
) -> Checked:
    """Return the URL with an address that may be connected to.

    https anywhere on the public internet. With `allow_private` also addresses of this machine and its
    network, and there http too.

    Raises:
        RequestError: the URL can't be right, or leads where it must not.
        MachineError: its host can't be looked up.
    """
    parts, host, port = _split(url)
    try:
        addresses = [ipaddress.ip_address(one) for one in resolve(host, port)]
    except (OSError, UnicodeError):
        raise MachineError(
            f"The name {host} can't be looked up. Check how it is spelled, and that this machine has DNS."
        ) from None
    private = [one for one in addresses if not is_public(one)]
    if private and not allow_private:
        raise RequestError(
            f"{host} is an address inside a private network, which is not asked for files. "
            "If you mean it, add --allow-private."
        )
    if parts.scheme.lower() == "http" and len(private) < len(addresses):
        raise RequestError(f"{shown(url)} is not encrypted. Use its https:// address.")
    if not addresses:
        raise MachineError(f"The name {host} has no address. Check how it is spelled.")
    return Checked(url, host, port, str(addresses[0]))


def is_public(address: Address) -> bool:
    """Tell whether an address is one of the public internet; one that is wrapped in IPv6 is unwrapped first."""
    inner = _inner(address)
    site_local = getattr(inner, "is_site_local", False)  # IPv6 knows it, and still calls it global
    return inner.is_global and not (inner.is_multicast or inner.is_reserved or site_local)


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
    wrapped = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
    return wrapped or address


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
