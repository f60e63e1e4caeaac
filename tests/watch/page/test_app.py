"""The application: pages, parts, verbs and files, whatever is asked of it and whatever files hold."""

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from musabi.errors import MachineError, RequestError
from musabi.job.record import RunState
from musabi.watch.page.html import render
from musabi.watch.page.view import Verb
from musabi.watch.page.views import VIEWS
from small.page import KEY, Browser, make_scene, plain_view
from small.standing import HOSTILE, Standing


def raising(problem: Exception) -> Callable[..., Any]:
    def part(*_: Any) -> Any:
        raise problem

    return part


def live(browser: Browser, page: str, **headers: str) -> dict[str, str]:
    """Return the first look of a page's stream: HTML by part."""
    found = {}
    with browser.client.stream("GET", f"/live?page={page}", headers=headers) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        for line in answer.iter_lines():
            if line.startswith("data: "):
                value = json.loads(line.removeprefix("data: "))
                found[value["part"]] = value["html"]
    return found


@pytest.fixture(autouse=True)
def short_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream ends after its first look."""
    monkeypatch.setattr("musabi.watch.page.live.stream.__defaults__", (0.03, 0.02))


@pytest.fixture
def plain(tmp_path: Path) -> Callable[..., Browser]:
    """Make a browser of one plain view: `plain(parts=..., verbs=..., values=..., HF_TOKEN=...)`."""

    def make(problem: str | None = None, environ: dict[str, str] | None = None, **more: Any) -> Browser:
        return Browser(make_scene(tmp_path, problem=problem, **(environ or {})), (plain_view(**more),))

    return make


@pytest.mark.parametrize(
    "problem",
    [ValueError("/root/x"), IndexError("x"), ZeroDivisionError(), RuntimeError("dictionary changed size"),
     UnicodeDecodeError("utf-8", b"\xe9", 0, 1, "x"), PermissionError(13, "Permission denied"), EOFError()],
    ids=lambda problem: type(problem).__name__,
)  # fmt: skip
def test_a_part_that_breaks_says_so_and_the_others_are_shown(
    plain: Callable[..., Browser], problem: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = plain(parts={"broken": raising(problem), "whole": lambda *_: "<p>fine</p>"})
    assert browser.get("/").status_code == 200
    found = live(browser, "refused")
    assert found["whole"] == "<p>fine</p>"
    assert "This can&#39;t be shown" in found["broken"]
    assert "Traceback" not in found["broken"] and "/root" not in found["broken"]


def test_a_part_that_refuses_says_its_words_escaped_and_without_secrets(
    plain: Callable[..., Browser],
) -> None:
    said = MachineError(f"No room for {HOSTILE} hf_secretvalue.")
    found = live(plain(parts={"part": raising(said)}, environ={"HF_TOKEN": "hf_secretvalue"}), "refused")
    assert "No room for &lt;script&gt;" in found["part"] and "<script" not in found["part"]
    assert "secretvalue" not in found["part"]


def test_a_secret_is_shown_nowhere(plain: Callable[..., Browser]) -> None:
    from markupsafe import escape

    tokens = ("hf_plainsecret", "p&ss<'wo\"rd>")
    browser = plain(
        environ={"HF_TOKEN": tokens[0], "JUPYTER_PASSWORD": tokens[1]},
        problem=f"HF_TOKEN={tokens[0]} JUPYTER_PASSWORD={tokens[1]} is wrong.",
        parts={"part": lambda *_: render("problem", {"message": " ".join(tokens)})},
    )
    for text in (browser.get("/").text, live(browser, "refused")["part"]):
        for token in tokens:
            assert token not in text and str(escape(token)) not in text


def test_a_page_holds_its_key_once_and_its_parts_never(plain: Callable[..., Browser]) -> None:
    browser = plain(parts={"part": lambda *_: render("problem", {"message": KEY})})
    assert live(browser, "refused")["part"] == '<p class="notice bad">***</p>'
    assert browser.get("/").text.count(KEY) == 1


def test_a_password_that_is_a_word_of_the_page_breaks_no_page(tmp_path: Path) -> None:
    words: dict[str, Any] = {
        "JUPYTER_PASSWORD": "dataset",
        "HF_TOKEN": "section",
        "API_TOKEN": "data-part",
        "A_TOKEN": "musabi-key",
    }
    browser = Browser(make_scene(tmp_path, problem="Look at dataset and section.", **words), VIEWS)
    text, usual = (one.get("/dataset").text for one in (browser, Browser(make_scene(tmp_path), VIEWS)))
    assert "Look at *** and ***." in text

    def tags(html: str) -> list[str]:
        kept = re.sub(r'data-hash="[^"]*"|<p class="notice bad">.*?</p>', "", html)
        return [tag for tag in re.findall(r"<[^>]*>", kept) if not tag.startswith("<p")]

    assert tags(text) == tags(usual)
    assert KEY in text


def test_a_user_in_an_address_is_hidden_and_ends_no_tag(plain: Callable[..., Browser]) -> None:
    values = {"message": 'https://me:secret@host and "https://x"><b>y@z'}
    found = live(plain(parts={"part": lambda *_: render("problem", values)}), "refused")["part"]
    assert "secret" not in found
    assert re.sub("<.*?>", "", found) != found and found.startswith('<p class="notice bad">')
    assert found.endswith("@z</p>") and "<b>" not in found


def test_of_two_secrets_with_one_beginning_nothing_is_left(plain: Callable[..., Browser]) -> None:
    browser = plain(
        problem="It is hf_shortlonger.", environ={"HF_TOKEN": "hf_short", "OTHER_TOKEN": "hf_shortlonger"}
    )
    assert "It is ***." in browser.get("/").text


def test_what_breaks_is_told_in_the_log_in_one_short_line_without_secrets(
    plain: Callable[..., Browser], capsys: pytest.CaptureFixture[str]
) -> None:
    verb = Verb("Bad", raising(ValueError("hf_secretvalue\nHF " + "x" * 9000)))
    plain(verbs={"bad": verb}, environ={"HF_TOKEN": "hf_secretvalue"}).change("/do", {"verb": "bad"})
    said = [line for line in capsys.readouterr().out.splitlines() if line]
    assert len(said) == 1 and len(said[0]) < 600 and "secretvalue" not in said[0]


def test_a_page_whose_values_cant_be_made_says_why(plain: Callable[..., Browser]) -> None:
    answer = plain(values=raising(RequestError("There is no run <b>."))).get("/refused?run=x")
    assert answer.status_code == 200
    assert "There is no run &lt;b&gt;." in answer.text
    broken = plain(values=raising(KeyError("/root"))).get("/refused")
    assert (broken.status_code, broken.text) == (500, "This can't be shown: KeyError.\n")


def test_a_wrong_variable_of_the_pod_is_told_on_every_page(plain: Callable[..., Browser]) -> None:
    assert "NETWORK_DIM is &lt;4&gt;." in plain(problem="NETWORK_DIM is <4>.").get("/").text


def test_every_page_has_an_icon_and_says_what_it_lacks_without_scripts(tmp_path: Path) -> None:
    browser = Browser(make_scene(tmp_path), VIEWS)
    page = browser.get("/run").text
    icon = re.search(r'rel="icon" href="([^"]+)"', page)
    assert icon is not None and browser.get(f"/{icon[1]}").headers["content-type"].startswith("image/svg")
    assert (
        "<noscript>" in page and '<a href="runs" aria-current="true">' in page
    )  # a run's page is one of Runs
    assert page.count("There is no run yet.") == 1 and 'href="train">Train</a>' in page


def test_a_page_that_is_none_is_answered_in_words(plain: Callable[..., Browser]) -> None:
    browser = plain()
    missing = browser.get("/nothing")
    assert (missing.status_code, missing.text.partition(" There are: ")[0]) == (404, "There is no such page.")
    for page in ("nothing", "", "../pod", "%00"):
        answer = browser.get(f"/live?page={page}")
        assert (answer.status_code, answer.text) == (404, "There is no such page.\n")


def test_a_stream_goes_on_where_the_browser_was(plain: Callable[..., Browser]) -> None:
    browser = plain(parts={"one": lambda *_: "1", "two": lambda *_: "2"})
    with browser.client.stream("GET", "/live?page=refused") as answer:
        ids = [line.removeprefix("id: ") for line in answer.iter_lines() if line.startswith("id: ")]
    assert live(browser, "refused", **{"last-event-id": ids[-1]}) == {}
    assert set(live(browser, "refused", **{"last-event-id": ids[0]})) >= {"two"}
    assert set(live(browser, "refused", **{"last-event-id": "\x00=,"[1:]})) >= {"one", "two"}


def test_the_query_of_a_page_reaches_its_parts(plain: Callable[..., Browser]) -> None:
    browser = plain(parts={"part": lambda _scene, query: query.get("run", "none")})
    with browser.client.stream("GET", "/live?page=refused&run=demo") as answer:
        assert '"html": "demo"' in "".join(answer.iter_lines())


@pytest.mark.parametrize(
    "path",
    ["..%2fapp.py", "%2e%2e%2fgate.py", "../app.py", "page.css%00.png", "%00.css", "..%5capp.py",
     "templates", "%2fetc%2fpasswd", "live.py", "a" * 5000 + ".css"],
    ids=lambda path: path[:20],
)  # fmt: skip
def test_no_file_outside_of_static_is_answered(plain: Callable[..., Browser], path: str) -> None:
    answer = plain().client.get(f"/static/{path}", follow_redirects=True)
    assert answer.status_code == 404
    assert "import" not in answer.text


def test_the_pages_own_files_are_answered_with_their_kind(plain: Callable[..., Browser]) -> None:
    browser = plain()
    kinds = {name: browser.get(f"/static/{name}").headers["content-type"] for name in ("page.css", "live.js")}
    assert kinds["page.css"].startswith("text/css") and kinds["live.js"].startswith("text/javascript")


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"1", b"null", b"{", b'{"verb": 1}', b'{"verb": ["x"]}', b"\xff\xfe", b'{"verb": "\\ud800"}',
     b"[" * 200_000],
    ids=lambda body: repr(body[:20]),
)  # fmt: skip
def test_a_change_that_makes_no_sense_is_refused_in_words(plain: Callable[..., Browser], body: bytes) -> None:
    browser = plain()
    answer = browser.client.post("/do", content=body, headers=browser.own)
    assert answer.status_code == 422
    assert answer.json()["ok"] is False and answer.json()["message"].endswith(".")


def test_a_change_of_a_size_that_no_form_has_is_refused(plain: Callable[..., Browser]) -> None:
    answer = plain().change("/do", {"verb": "x" * 1_100_000})
    assert (answer.status_code, answer.json()["message"]) == (422, "That is too much at once.")


def test_a_verbs_arguments_come_from_its_row(plain: Callable[..., Browser], tmp_path: Path) -> None:
    verb = Verb("Look", lambda scene, given: ["lora", "inspect", str(given["file"])], done="Looked.")
    answer = plain(verbs={"look": verb}, environ={"WORKSPACE": str(tmp_path)}).change(
        "/do", {"verb": "look", "file": "none.safetensors"}
    )
    assert answer.status_code == 422
    said = answer.json()
    assert said["over"] and not said["ok"]
    assert "none.safetensors" in said["message"] and "Traceback" not in answer.text


@pytest.mark.parametrize(
    ("problem", "status", "words"),
    [
        (RequestError("No file \udce9 <x>."), 422, "No file ? <x>."),
        (KeyError("file"), 500, "This could not be done: KeyError."),
        (PermissionError(13, "Permission denied", "/x"), 500, "This could not be done: "),
        (
            OSError(28, "No space left on device", "/x"),
            500,
            "This could not be done: The disk is full. Make room",
        ),
    ],
)
def test_a_verb_whose_arguments_are_wrong_is_not_started(
    plain: Callable[..., Browser], problem: Exception, status: int, words: str
) -> None:
    answer = plain(verbs={"bad": Verb("Bad", raising(problem))}).change("/do", {"verb": "bad"})
    assert answer.status_code == status
    assert answer.json()["message"].startswith(words)


def test_a_name_of_odd_bytes_is_shown_with_a_question_mark(plain: Callable[..., Browser]) -> None:
    browser = plain(parts={"part": lambda *_: "b\udce9e.png"}, problem="b\udce9e.png is wrong.")
    assert "b?e.png is wrong." in browser.get("/").text
    assert live(browser, "refused")["part"] == "b?e.png"


class Loud(HTMLParser):
    """Finds what a browser would run, or load from elsewhere, in a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        own = (given.get("src") or "").startswith("static/")
        if (tag == "script" and not own) or tag in ("style", "iframe", "object", "embed", "base"):
            self.found.append(tag)
        self.found += [
            f"{tag} {name}={value}"
            for name, value in attrs
            if name.startswith("on")
            or name == "style"
            or (name in ("href", "src", "action") and ":" in (value or "") and value != "data:,")
            or (tag == "img" and value == "x")
        ]


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.name)
def test_what_files_hold_is_never_part_of_the_page(tmp_path: Path, view: Any) -> None:
    from PIL import Image

    standing = Standing(tmp_path)
    standing.everything()
    standing.report((HOSTILE, "ok", HOSTILE), more=(HOSTILE,))
    standing.services(jupyter=("running", HOSTILE))
    standing.announce("stop", HOSTILE, 95)
    run = standing.run(RunState.FAILED, name=HOSTILE, message=HOSTILE, versions={HOSTILE: HOSTILE})
    (run.path / "log.txt").write_text(HOSTILE + "\n")
    images = standing.space.images
    images.mkdir(parents=True)
    name = HOSTILE.replace("/", "")
    Image.new("RGB", (64, 64)).save(images / f"{name}.png")
    (images / f"{name}.txt").write_text(HOSTILE)
    (standing.space.root / "dataset" / "sample_prompts.txt").write_text(HOSTILE + "\n")
    browser = Browser(make_scene(tmp_path), VIEWS)
    answer = browser.get(f"/{view.name}?run={run.path.name}")
    assert answer.status_code == 200, answer.text
    assert Loud(answer.text).found == []
    for html in live(browser, view.name).values():
        assert Loud(html).found == []
