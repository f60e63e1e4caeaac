"""What every request to the run page passes first: where it comes from, who it comes from, what a browser may do.

Names of files and captions are strangers' texts. So no script and no style stands inside a page, and only this
server's own are loaded; a change needs the page's key in a header, which no form of another site can send, and the
page's own Origin.
"""

import hmac
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any
from urllib.parse import parse_qs

import anyio

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
COOKIE = "musabi_page"
KEY_HEADER = "x-musabi-key"
MOST_PASSED_OVER = 128_000_000
"""JupyterLab's proxy takes no longer request."""
PASSING_SECONDS = 60.0
"""Less than the 100 s after which the way to the browser ends a request."""
READING = frozenset({"GET", "HEAD"})
LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; media-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}


class Gate:
    """Middleware around the application. `key` and `login`: see Scene."""

    def __init__(self, app: App, key: str, *, login: bool) -> None:
        self._app = app
        self._key = key
        self._login = login

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): text.decode("latin-1") for name, text in scope["headers"]}

        body = Body(receive)
        reading = scope["method"] in READING

        async def send_guarded(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                if not reading:
                    await body.pass_over()
                given = {name.lower() for name, _ in message["headers"]}
                more = {"cache-control": "no-store"} | HEADERS
                message["headers"] = [
                    *message["headers"],
                    *(
                        (name.encode(), text.encode())
                        for name, text in more.items()
                        if name.encode() not in given
                    ),
                ]
            await send(message)

        token = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        if self._login and token and scope["method"] in READING and matches(token, self._key):
            await _let_in(send_guarded, self._key, headers.get("host", ""))
            return
        refused = refusal(scope["method"], headers, self._key, login=self._login)
        if refused is not None:
            await _answer(send_guarded, *refused)
            return
        await self._app(scope, body.receive, send_guarded)


class Body:
    """What comes with a request. A change may be answered before all of it was read, because of its name, say.

    JupyterLab's proxy answers 500 by itself where nobody reads what it sends.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._left = MOST_PASSED_OVER
        self._over = False

    async def receive(self) -> MutableMapping[str, Any]:
        """Return the next message, as the server gives it."""
        message = await self._receive()
        self._left -= len(message.get("body", b""))
        self._over = not message.get("more_body")
        return message

    async def pass_over(self) -> None:
        """Take in what nobody has read, so much and so long as a proxy would send."""
        with anyio.move_on_after(PASSING_SECONDS):
            while not self._over and self._left > 0:
                await self.receive()


def refusal(method: str, headers: Mapping[str, str], key: str, *, login: bool) -> tuple[int, str] | None:
    """Return (status, what is wrong) of a request that may not pass, else None. Header names are lower case."""
    host = headers.get("host", "").strip().lower()
    if login and name_of(host) not in LOOPBACK:
        return 403, "This page is answered under the address that musabi page printed, and no other."
    if login and not matches(cookie_of(headers), key):
        return 401, "Open the address that musabi page printed: it holds the key to this page."
    if method in READING:
        return None
    if not is_own_origin(headers.get("origin", ""), host):
        return 403, "A change must come from this page itself."
    if not matches(headers.get(KEY_HEADER, ""), key):
        return 403, "This page is of an earlier start of the server. Load it again."
    return None


def is_own_origin(origin: str, host: str) -> bool:
    """Tell whether a page's Origin names the server that the Host header names, whatever the scheme.

    A proxy takes TLS off, so the scheme is not known here; the usual ports may be left out.
    """
    scheme, _, authority = origin.strip().lower().partition("://")
    usual = {"http": ":80", "https": ":443"}.get(scheme)
    return usual is not None and authority.removesuffix(usual) == host.removesuffix(usual)


def matches(given: str, key: str) -> bool:
    """Compare in constant time."""
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), key.encode())


def cookie_of(headers: Mapping[str, str]) -> str:
    """Return the key that a browser brings, or "".

    Other programs of this machine set cookies, too, of which http.cookies gives up on the odd ones.
    """
    pairs = (pair.strip().partition("=") for pair in headers.get("cookie", "").split(";"))
    own = cookie_name(headers.get("host", ""))
    return next((text for name, _, text in pairs if name == own), "")


def cookie_name(host: str) -> str:
    """Return the cookie's name: one a port, for a browser sends a cookie to all ports of a machine."""
    port = host.removeprefix(name_of(host)).removeprefix(":")
    return f"{COOKIE}_{port}" if port.isdecimal() else COOKIE


def name_of(host: str) -> str:
    """Return the host of "host:port" without its port; an IPv6 address keeps its brackets."""
    return host.partition("]")[0] + "]" if host.startswith("[") else host.partition(":")[0]


async def _let_in(send: Send, key: str, host: str) -> None:
    cookie = f"{cookie_name(host.strip().lower())}={key}; HttpOnly; SameSite=Strict; Path=/"
    headers = [(b"location", b"./"), (b"set-cookie", cookie.encode()), (b"content-length", b"0")]
    await send({"type": "http.response.start", "status": 303, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


async def _answer(send: Send, status: int, text: str) -> None:
    body = text.encode() + b"\n"
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
