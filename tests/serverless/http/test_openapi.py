"""The description of the HTTP interface: true to what the application answers, with requests that are right."""

from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from musabi.serverless.http.openapi import OPERATIONS, document, page
from musabi.serverless.http.openapi_examples import ANSWERS, REQUESTS
from musabi.serverless.request.model import read_request
from musabi.serverless.request.secrets import split_secrets
from peers.endpoint_house import house

KEY = "the-key"
EXAMPLES = 8
DELIBERATE = [
    negative_data_rejection,  # an input that is wrong is a job that fails, as on Runpod
    positive_data_acceptance,  # a job that there is not is answered 404
]


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda one: f"{one.method} {one.path}")
def test_what_is_described_is_what_is_answered(tmp_path: Path, operation: Any) -> None:
    with house(tmp_path, key=KEY) as home:
        schema = schemathesis.openapi.from_dict(document())
        schema.app = home.app
        found = schema[operation.path][operation.method]

        @seed(5)
        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=found.as_strategy())
        def answers(case: Any) -> None:
            case.call_and_validate(headers={"Authorization": f"Bearer {KEY}"}, excluded_checks=DELIBERATE)

        answers()


def test_a_job_is_described_in_each_of_its_states(tmp_path: Path) -> None:
    with house(tmp_path, key=KEY) as home:
        schema = schemathesis.openapi.from_dict(document())
        schema.app = home.app
        failed, done, cancelled = home.submit("fail"), home.submit("steps=2"), home.submit()
        home.service.cancel(cancelled)
        home.until_ended(failed, done)
        running, waiting = home.submit("steps=999 each=0.02"), home.submit()
        home.until(lambda: home.dispatcher.progress_of(running))
        home.service.retry(failed, {})
        for path in ("/status/{job_id}", "/stream/{job_id}"):
            found = [
                schema[path]["get"]
                .Case(path_parameters={"job_id": one})
                .call_and_validate(headers={"Authorization": f"Bearer {KEY}"}, excluded_checks=DELIBERATE)
                .json()["status"]
                for one in (waiting, running, done, failed, cancelled)
            ]
            assert found == ["IN_QUEUE", "IN_PROGRESS", "COMPLETED", "IN_QUEUE", "CANCELLED"]


@pytest.mark.parametrize("name", REQUESTS)
def test_the_requests_that_are_shown_are_right(name: str) -> None:
    plain, secrets = split_secrets(REQUESTS[name]["input"])
    read_request(plain, secrets=secrets)


def test_every_path_of_the_application_is_described(tmp_path: Path) -> None:
    with house(tmp_path) as home:
        served = {
            (route.path, method.lower())
            for route in home.app._app.routes  # type: ignore[attr-defined]
            for method in route.methods
            if method != "HEAD"
        }
    pages = {("/", "get"), ("/docs", "get"), ("/openapi.json", "get")}
    assert served - pages == {(one.path, one.method) for one in OPERATIONS}


def test_every_answer_has_an_example_and_the_page_shows_it() -> None:
    assert {one.answer for one in OPERATIONS} == set(ANSWERS)
    shown = page("docs.html.j2")
    assert all(one.path in shown and one.summary in shown for one in OPERATIONS)
    assert "MUSABI_SECRET_HF" in shown
