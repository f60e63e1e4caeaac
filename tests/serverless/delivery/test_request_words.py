"""A client of the endpoint reads the fields of its request, not the environment variables of the tool."""

import pytest

from musabi.hub.s3 import REPLIES, UNKNOWN, UNREACHED
from musabi.hub.upload_faults import UPLOAD_FAULTS
from musabi.serverless.delivery.request_words import WORDS, in_request_words

MESSAGES = [
    *(fault.message for fault in UPLOAD_FAULTS),
    *(reply.message for reply in (*REPLIES, UNKNOWN)),
    UNREACHED,
]


@pytest.mark.parametrize("message", MESSAGES)
def test_no_message_about_handing_over_names_a_variable_or_an_option(message: str) -> None:
    text = in_request_words(message)
    assert not any(
        word in text for word in ("HF_TOKEN", "AWS_", "--public", "Publish again", "publish again")
    )


def test_a_message_stays_a_sentence() -> None:
    text = in_request_words(
        "S3 needs AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment. Set both, and go."
    )
    assert text == "S3 needs output.s3.access_key and output.s3.secret_key. Give both, and go."
    assert len({ours for ours, _ in WORDS}) == len(WORDS)
