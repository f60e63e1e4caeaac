"""Hostile requests: whatever is sent, there is an answer in words, never 500, never a traceback."""

from typing import Any
from urllib.parse import quote

import anyio
import httpx
import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from musabi.serverless.queue.states import State
from peers.endpoint_house import TOKEN, House, house, request

FEW, MANY = 60, 3000
BAD_TEXTS = [
    "",
    "\0",
    "'; DROP TABLE jobs; --",
    '"\n[optimizer]\ntype = "os.system"\n#',
    "../../../etc/passwd",
    "$(touch /tmp/x)",
    "{{7*7}}",
    "<script>alert(1)</script>",
    "\u202e\ufeff\u2028",
    "A" * 5000,
    "env:HOME",
    "file:///etc/passwd",
    "http://169.254.169.254/",
    "-1e400",
    "nan",
]
TEXTS = st.one_of(st.sampled_from(BAD_TEXTS), st.text(max_size=20))
NUMBERS = st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.booleans(), st.none())
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.one_of(TEXTS, NUMBERS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=6,
)
PATHS = (
    ("model_type",),
    ("engine",),
    ("dataset",),
    ("dataset", "type"),
    ("dataset", "images_url"),
    ("dataset", "trigger_word"),
    ("dataset", "image_repeats"),
    ("training",),
    ("training", "epochs"),
    ("training", "learning_rate"),
    ("training", "optimizer_type"),
    ("training", "frame_buckets"),
    ("training", "output_dir"),
    ("output",),
    ("output", "method"),
    ("output", "huggingface"),
    ("output", "huggingface", "token"),
    ("output", "huggingface", "repo_id"),
    ("output", "s3"),
    ("api_keys",),
    ("api_keys", "huggingface_token"),
)


def changed(path: tuple[str, ...], value: Any) -> dict[str, Any]:
    """Return a request that is right but for one place."""
    made = request()
    inner: Any = made
    for name in path[:-1]:
        inner = inner.setdefault(name, {})
    inner[path[-1]] = value
    return made


BODIES = st.one_of(
    st.builds(lambda path, value: {"input": changed(path, value)}, st.sampled_from(PATHS), VALUES),
    st.builds(lambda name, value: {"input": request(**{name: value})}, TEXTS, VALUES),
    st.builds(
        lambda part, value: {"input": request(), part: value},
        st.sampled_from(["webhook", "policy", "s3Config", "id"]),
        VALUES,
    ),
    VALUES,
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with house(tmp_path_factory.mktemp("hostile"), ENDPOINT_MOST_WAITING="100000") as made:
        yield made


def send(home: House, calls: list[tuple[str, str, Any]]) -> list[httpx.Response]:
    """Send requests (method, path, JSON or bytes) and return the answers."""

    async def talk() -> list[httpx.Response]:
        async with home.client() as client:
            return [
                await client.request(
                    method, path, **({"content": body} if isinstance(body, bytes) else {"json": body})
                )
                for method, path, body in calls
            ]

    return anyio.run(talk)


def require_plain_words(answer: httpx.Response) -> None:
    assert answer.status_code in (200, 400, 401, 404, 405, 413, 429), answer.text
    assert "Traceback" not in answer.text and 'File "' not in answer.text
    if answer.status_code != 200:
        assert set(answer.json()) == {"error"} and answer.json()["error"].strip()


def check_body(home: House, body: Any) -> None:
    (answer,) = send(home, [("POST", "/run", body)])
    require_plain_words(answer)
    if answer.status_code == 200:
        (status,) = send(home, [("GET", f"/status/{answer.json()['id']}", None)])
        require_plain_words(status)
        assert status.json()["status"] in (State.IN_QUEUE, State.FAILED)
        assert TOKEN not in status.text


@seed(7)
@settings(max_examples=FEW, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(body=BODIES)
def test_any_body_gets_an_answer_in_words(home: House, body: Any) -> None:
    check_body(home, body)


@pytest.mark.full
@settings(max_examples=MANY, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(body=BODIES)
def test_any_of_thousands_of_bodies_gets_an_answer_in_words(home: House, body: Any) -> None:
    check_body(home, body)


@pytest.mark.parametrize("path", PATHS, ids=".".join)
def test_a_hostile_value_at_any_place_gets_an_answer_in_words(home: House, path: tuple[str, ...]) -> None:
    values: list[Any] = [*BAD_TEXTS, None, [], {}, [[]], True, -1, 10**30, 1e308, {"__proto__": {}}]
    calls = [("POST", "/run", {"input": changed(path, value)}) for value in values]
    for answer in send(home, calls):
        require_plain_words(answer)


@seed(11)
@settings(max_examples=FEW, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(body=st.binary(max_size=200))
def test_any_bytes_get_an_answer_in_words(home: House, body: bytes) -> None:
    for answer in send(home, [("POST", "/run", body), ("POST", "/retry/x", body)]):
        require_plain_words(answer)


@seed(13)
@settings(max_examples=FEW, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(
    where=st.sampled_from(["status", "stream", "cancel", "retry", "run", "v2", "purge-queue", ""]),
    rest=st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS"]),
)
def test_any_path_gets_an_answer_in_words(home: House, where: str, rest: str, method: str) -> None:
    (answer,) = send(home, [(method, f"/{where}/{quote(rest)}", b"")])
    assert answer.status_code in (200, 307, 400, 404, 405), answer.text


def test_no_hostile_request_made_a_file_outside_the_queue(home: House) -> None:
    made = {path.relative_to(home.root).parts[0] for path in home.root.rglob("*") if path.is_file()}
    assert made <= {"volume", "state"}
    assert not home.options.places.jobs.exists(), "no job was started, so none has a folder"
