"""What a retry brings is what `musabi serve` takes."""

import json
from pathlib import Path

import pytest

from musabi.serverless.client.secrets_again import retry_body, secrets_in_file
from musabi.serverless.http.limits import BadRequest
from peers.endpoint_house import TOKEN, house, request


def test_a_server_that_has_lost_a_job_s_secrets_takes_those_of_its_file(tmp_path: Path) -> None:
    file = tmp_path / "request.json"
    asked = request()
    asked["dataset"]["images_url"] += "?signature=MARKED"
    asked["output"] = {"method": "s3"}
    config = {"bucketName": "my-bucket", "accessId": "AKIAEXAMPLE", "accessSecret": TOKEN}
    body = {"input": asked, "s3Config": config}
    file.write_text(json.dumps(body))
    with house(tmp_path) as home:
        job = home.service.submit(json.loads(file.read_text()))["id"]
        home.service.cancel(job)
        home.service.vault.drop(job)
        with pytest.raises(BadRequest, match="secrets of this job"):
            home.service.retry(job, {})
        brought = retry_body(secrets_in_file(file))
        assert brought is not None and home.service.retry(job, brought)["status"] == "IN_QUEUE"
        assert home.vault(job) == {
            "dataset.images_url": asked["dataset"]["images_url"],
            "output.s3.access_key": "AKIAEXAMPLE",
            "output.s3.secret_key": TOKEN,
        }
    assert retry_body({}) is None
