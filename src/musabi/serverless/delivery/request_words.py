"""What the tool's own messages call by environment variables and options, a request calls by its fields."""

WORDS = (
    ("HF_TOKEN", "output.huggingface.token"),
    ("AWS_ACCESS_KEY_ID", "output.s3.access_key"),
    ("AWS_SECRET_ACCESS_KEY", "output.s3.secret_key"),
    ("AWS_ENDPOINT_URL", "output.s3.endpoint_url"),
    ("AWS_REGION", "output.s3.region"),
    (" in the environment. Set both", ". Give both"),
    ("publish with --public", "set output.huggingface.private to false"),
    ("Add --public to publish there", "Set output.huggingface.private to false to publish there"),
    ("publish again", "try again"),
    ("Publish again", "Try again"),
    ("then start again", "then try again"),
    ("musabi[s3]", "musabi[serverless]"),
)
"""(word of the tool, word of a request); the order matters where one holds another."""


def in_request_words(text: str) -> str:
    """Return a message with the words of a request."""
    for ours, theirs in WORDS:
        text = text.replace(ours, theirs)
    return text
