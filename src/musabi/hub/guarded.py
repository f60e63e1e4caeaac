"""The one way to addresses that a stranger names: datasets, webhooks, S3 endpoints, hosts of files.

`guarded_client` gives an httpx client whose every connection, those of redirects too, goes to an address of the
public internet that was looked up once and checked. Where a name leads and how a connection is made are values
(`Network`), so that a test can have both of its own; nothing in the environment or a request changes them.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from musabi.hub.addresses import Resolve, check_address, look_up

if TYPE_CHECKING:
    import httpcore
    import httpx

MOST_REDIRECTS = 10
CONNECT_SECONDS = 20.0


@dataclass(frozen=True)
class Network:
    """How names are looked up, and how connections are made (None: by the kernel's own sockets)."""

    resolve: Resolve = look_up
    connect: "httpcore.NetworkBackend | None" = None


NETWORK = Network()
"""The real one. It is read anew at each use."""


def guarded_client(
    network: Network | None = None,
    *,
    allow_private: bool = False,
    silence_s: float = 60.0,
    follow_redirects: bool = False,
) -> "httpx.Client":
    """Return a client that asks addresses of the public internet alone, by https alone; close it after use.

    No proxy is used: it would look a name up by itself and connect to whatever it finds. `silence_s` seconds
    without a byte end a request. `allow_private` is for a person's own command (see `check_address`).

    Its requests raise, besides what httpx raises:
        RequestError: the address, or that of a redirect, must not be asked.
        MachineError: the host can't be looked up.
    """
    import httpx

    from musabi.hub.guarded_transport import GuardedTransport

    network = network or NETWORK
    return httpx.Client(
        transport=GuardedTransport(network.resolve, network.connect, allow_private=allow_private),
        trust_env=False,
        timeout=httpx.Timeout(silence_s, connect=min(CONNECT_SECONDS, silence_s)),
        follow_redirects=follow_redirects,
        max_redirects=MOST_REDIRECTS,
    )


def check_host(url: str, network: Network | None = None) -> None:
    """Refuse a URL that must not be asked, before anything is sent.

    This alone does not hold the connection to what was checked: let what follows go through `guarded_client`,
    boto3's requests through `guarded_boto.guard`.

    Raises:
        RequestError: it is no https URL of the public internet.
        MachineError: its host can't be looked up.
    """
    check_address(url, resolve=(network or NETWORK).resolve)
