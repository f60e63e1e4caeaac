"""Who may look at the page and who may change something through it."""

from pathlib import Path
from typing import Any

import anyio
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from musabi.errors import RequestError
from musabi.watch.page import gate
from musabi.watch.page.app import make_app
from musabi.watch.page.gate import HEADERS, MOST_PASSED_OVER, is_own_origin, name_of
from small.page import HOST, KEY, Browser, make_scene, plain_view


async def _changed(_request: Request) -> PlainTextResponse:
    return PlainTextResponse("changed")


async def _breaks(_request: Request) -> PlainTextResponse:
    raise ZeroDivisionError("/root/secret-place")


async def _refuses(_request: Request) -> PlainTextResponse:
    raise RequestError("That is no picture.")


ROUTES = (
    Route("/change", _changed, methods=["POST", "PUT", "DELETE"]),
    Route("/breaks", _breaks),
    Route("/refuses", _refuses),
)


def browser(tmp_path: Path, *, login: bool, host: str = HOST) -> Browser:
    return Browser(make_scene(tmp_path, login=login), (plain_view(routes=ROUTES),), host)


def test_the_printed_address_logs_in_and_its_token_leaves_the_address_line(tmp_path: Path) -> None:
    own = browser(tmp_path, login=True)
    assert own.get("/").status_code == 401
    entered = own.get(f"/?token={KEY}")
    assert (entered.status_code, entered.headers["location"]) == (303, "./")
    cookie = entered.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie
    assert own.get("/").status_code == 200


@pytest.mark.parametrize("token", ["", "wrong", KEY[:-1], KEY + "x", "\u00e4\ud83d", "%ff%00"])
def test_another_token_opens_nothing(tmp_path: Path, token: str) -> None:
    own = browser(tmp_path, login=True)
    answer = own.client.get("/", params={"token": token.encode("utf-8", "surrogatepass")})
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers


def test_a_token_in_the_address_allows_no_change(tmp_path: Path) -> None:
    own = browser(tmp_path, login=True)
    assert own.change(f"/change?token={KEY}", {}).status_code == 401


def test_a_cookie_of_another_program_on_this_machine_does_not_log_out(tmp_path: Path) -> None:
    own = browser(tmp_path, login=True)
    mine = own.get(f"/?token={KEY}").headers["set-cookie"].partition(";")[0]
    own.client.cookies.clear()
    for cookies in (f'theirs={{"a": [1, "b"]}}; {mine}', f'odd; =;; "x; {mine}; theirs=1', f"{mine};"):
        assert own.get("/", cookie=cookies).status_code == 200, cookies
    for cookies in ("musabi_page", "musabi_page=", f"other={KEY}", 'musabi_page="'):
        assert own.get("/", cookie=cookies).status_code == 401, cookies


def test_two_pages_of_one_machine_do_not_log_each_other_out(tmp_path: Path) -> None:
    one, other = (browser(tmp_path, login=True, host=f"127.0.0.1:{port}") for port in (4321, 4322))
    names = [each.get(f"/?token={KEY}").headers["set-cookie"].partition("=")[0] for each in (one, other)]
    assert len(set(names)) == 2


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:4321", "127.0.0.1.evil.example", "[::2]:80", ""]
)
def test_a_name_that_was_bound_to_this_machine_is_not_answered(tmp_path: Path, host: str) -> None:
    own = browser(tmp_path, login=True)
    own.get(f"/?token={KEY}")
    assert own.get("/", host=host).status_code == 403


@pytest.mark.parametrize("host", ["localhost:9", "LOCALHOST", "127.0.0.1", "[::1]:9"])
def test_this_machines_own_names_are_answered(tmp_path: Path, host: str) -> None:
    own = browser(tmp_path, login=True, host=host)
    own.get(f"/?token={KEY}")
    assert own.get("/").status_code == 200


def test_behind_jupyter_any_name_is_answered_without_a_login(tmp_path: Path) -> None:
    assert browser(tmp_path, login=False, host="abc-8888.proxy.runpod.net").get("/").status_code == 200


@pytest.mark.parametrize("login", [True, False])
@pytest.mark.parametrize("method", ["POST", "DELETE", "OPTIONS"])
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-musabi-key": KEY},
        {"origin": f"http://{HOST}"},
        {"origin": f"http://{HOST}", "x-musabi-key": "wrong"},
        {"origin": "null", "x-musabi-key": KEY},
        {"origin": "http://evil.example", "x-musabi-key": KEY},
        {"origin": f"http://{HOST}.evil.example", "x-musabi-key": KEY},
        {"origin": f"ftp://{HOST}", "x-musabi-key": KEY},
        {"origin": "http://127.0.0.1:4322", "x-musabi-key": KEY},
        {"referer": f"http://{HOST}/", "x-musabi-key": KEY},
    ],
)
def test_no_change_without_the_pages_origin_and_key(
    tmp_path: Path, login: bool, method: str, headers: dict[str, str]
) -> None:
    own = browser(tmp_path, login=login)
    if login:
        own.get(f"/?token={KEY}")
    answer = own.client.request(method, "/change", headers=headers)
    assert answer.status_code == 403
    assert "changed" not in answer.text


def test_the_page_itself_may_change_something(tmp_path: Path) -> None:
    own = browser(tmp_path, login=True)
    own.get(f"/?token={KEY}")
    assert own.change("/change", {}).text == "changed"


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("https://abc-8888.proxy.runpod.net", "abc-8888.proxy.runpod.net"),
        ("https://abc.example", "abc.example:443"),
        ("https://ABC.example:443", "abc.example"),
        ("http://localhost", "localhost:80"),
        ("http://[::1]:4321", "[::1]:4321"),
    ],
)
def test_a_proxy_may_have_taken_tls_off(tmp_path: Path, origin: str, host: str) -> None:
    own = browser(tmp_path, login=False, host="abc.example")
    headers = {"host": host, "origin": origin, "x-musabi-key": KEY}
    assert own.change("/change", {}, headers).status_code == 200
    assert is_own_origin(origin, host)


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("https://abc.example:8443", "abc.example"),
        ("https://abc.example.evil", "abc.example"),
        ("https://evil@abc.example", "abc.example"),
        ("https://abc.example/", "abc.example"),
        ("javascript://abc.example", "abc.example"),
        ("abc.example", "abc.example"),
        ("", ""),
    ],
)
def test_another_origin_is_not_the_pages_own(origin: str, host: str) -> None:
    assert not is_own_origin(origin, host)


def test_names_of_hosts() -> None:
    assert [name_of(host) for host in ("a:1", "a", "[::1]:8", "[::1]", "")] == [
        "a",
        "a",
        "[::1]",
        "[::1]",
        "",
    ]


@pytest.mark.parametrize("login", [True, False])
@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/refused",
        "/nothing",
        "/refuses",
        "/breaks",
        "/static/page.css",
        "/static/none.css",
        "/health",
        "/do",
    ],
)
def test_every_answer_says_what_a_browser_may_do(tmp_path: Path, path: str, login: bool) -> None:
    answers = [browser(tmp_path, login=login).get(path)]  # refused where there is a login
    own = browser(tmp_path, login=login)
    answers += [own.get(f"{path}?token={KEY}"), own.get(path), own.change("/do", {"verb": "none"})]
    for answer in answers:
        assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS
        assert answer.headers["cache-control"] in ("no-store", "no-cache")


def test_no_script_or_style_from_within_a_page_or_from_elsewhere_is_allowed() -> None:
    rules: dict[str, Any] = {
        name: values
        for name, *values in (rule.split() for rule in HEADERS["content-security-policy"].split(";"))
    }
    assert rules["default-src"] == ["'none'"]
    assert rules["script-src"] == rules["style-src"] == rules["connect-src"] == ["'self'"]
    assert rules["form-action"] == rules["base-uri"] == ["'none'"]
    assert rules["frame-ancestors"] == ["'self'"]


def test_what_breaks_shows_no_traceback_and_no_place(tmp_path: Path) -> None:
    answer = browser(tmp_path, login=False).get("/breaks")
    assert (answer.status_code, answer.text) == (500, "This can't be shown: ZeroDivisionError.\n")


class Sent:
    """A request's body, piece by piece; how much of it was asked for before the answer began."""

    def __init__(self, pieces: int) -> None:
        self.left = pieces
        self.at_answer: int | None = None
        self.status = 0

    async def receive(self) -> dict[str, Any]:
        self.left -= 1
        return {"type": "http.request", "body": b"x" * 1_000_000, "more_body": self.left > 0}

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.at_answer, self.status = self.left, message["status"]


def ask(tmp_path: Path, sent: Sent, path: str, headers: dict[str, str]) -> None:
    scene = make_scene(tmp_path)
    scope = {
        "type": "http", "method": "POST", "path": path, "query_string": b"", "root_path": "",
        "headers": [(name.encode(), text.encode()) for name, text in ({"host": HOST} | headers).items()],
    }  # fmt: skip
    anyio.run(make_app(scene, (plain_view(routes=ROUTES),)), scope, sent.receive, sent.send)


OWN = {"origin": f"http://{HOST}", "x-musabi-key": KEY}


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/change", {}, 403),
        ("/nothing", OWN, 404),
        ("/health", OWN, 405),
        ("/do", OWN, 422),
        ("/change", OWN, 200),
    ],
)
def test_a_body_that_nobody_reads_is_taken_in_before_the_answer(
    tmp_path: Path, path: str, headers: dict[str, str], status: int
) -> None:
    sent = Sent(20)
    ask(tmp_path, sent, path, headers)
    assert (sent.status, sent.at_answer) == (status, 0)


def test_a_body_without_end_is_answered_after_what_a_proxy_takes(tmp_path: Path) -> None:
    sent = Sent(10**9)
    ask(tmp_path, sent, "/do", OWN)
    assert sent.status == 422
    assert 10**9 - (sent.at_answer or 0) <= MOST_PASSED_OVER // 1_000_000 + 1


def test_a_body_that_does_not_come_is_not_waited_for_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Silent(Sent):
        async def receive(self) -> dict[str, Any]:
            await anyio.sleep(30)
            raise AssertionError

    monkeypatch.setattr(gate, "PASSING_SECONDS", 0.05)
    sent = Silent(1)
    ask(tmp_path, sent, "/change", {})
    assert sent.status == 403
