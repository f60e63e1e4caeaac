"""The endpoint's own S3 keys go to Amazon and to its own server, to nobody else."""

from pathlib import Path

import pytest

from musabi.serverless.request.mistakes import Refused
from musabi.serverless.request.model import read_request
from musabi.serverless.request.own_s3_keys import own_keys_may_go
from musabi.serverless.request.secrets import secrets_of
from peers.endpoint_house import house, request
from serverless.request.examples import an_input

KEYS = {"AWS_ACCESS_KEY_ID": "AKIAOWN", "AWS_SECRET_ACCESS_KEY": "ownsecret"}
R2 = "https://account.r2.cloudflarestorage.com"


@pytest.mark.parametrize(
    ("url", "own", "may"),
    [
        (None, {}, True),
        ("", {}, True),
        ("https://s3.amazonaws.com", {}, True),
        ("https://s3.eu-west-1.amazonaws.com/", {}, True),
        ("https://s3.dualstack.us-gov-east-1.amazonaws.com", {}, True),
        ("https://s3.cn-north-1.amazonaws.com.cn", {}, True),
        ("http://s3.amazonaws.com", {}, False),
        ("https://s3.amazonaws.com.stranger.example", {}, False),
        ("https://s3-mine.us-east-1.elb.amazonaws.com", {}, False),
        ("https://ec2-1-2-3-4.compute-1.amazonaws.com", {}, False),
        (R2, {}, False),
        (R2, {"AWS_ENDPOINT_URL": f"{R2}/"}, True),
        (R2.upper().replace("HTTPS", "https"), {"AWS_ENDPOINT_URL_S3": f"{R2}:443"}, True),
        (R2.replace("https", "http"), {"AWS_ENDPOINT_URL": R2}, False),
        (f"{R2}:8443", {"AWS_ENDPOINT_URL": R2}, False),
        ("https://stranger.example", {"AWS_ENDPOINT_URL": R2}, False),
        ("https://[wrong", {"AWS_ENDPOINT_URL": "https://[wrong"}, False),
        (5, {}, False),
    ],
)
def test_own_keys_go_to_amazon_and_to_the_endpoint_s_own_server(
    url: object, own: dict[str, str], may: bool
) -> None:
    assert own_keys_may_go(url, own) is may
    found = secrets_of({}, KEYS | own, {"output": {"s3": {"endpoint_url": url}}})
    assert ("AKIAOWN" in found.values()) is may and ("ownsecret" in found.values()) is may


def test_a_request_with_a_server_of_its_own_is_told_to_bring_keys() -> None:
    asked = an_input(output={"method": "s3", "s3": {"bucket": "my-bucket", "endpoint_url": R2}})
    with pytest.raises(Refused, match="own keys go to Amazon S3") as refused:
        read_request(asked, secrets=secrets_of({}, KEYS, asked))
    assert {one.path for one in refused.value.mistakes} == {"output.s3.access_key", "output.s3.secret_key"}
    named = KEYS | {"AWS_ENDPOINT_URL": R2}
    read_request(asked, secrets=secrets_of({}, named, asked))


def test_the_server_asks_for_keys_where_its_own_may_not_go(tmp_path: Path) -> None:
    asked = request() | {"output": {"method": "s3", "s3": {"bucket": "my-bucket", "endpoint_url": R2}}}
    for number, (environ, state) in enumerate(
        ((KEYS, "FAILED"), (KEYS | {"AWS_ENDPOINT_URL": R2}, "IN_QUEUE"))
    ):
        with house(tmp_path / str(number), **environ) as home:
            assert home.service.submit({"input": asked})["status"] == state
