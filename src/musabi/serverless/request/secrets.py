"""The secrets of a request: taken out before anything else sees it, found where they are named.

A secret stands in a request, or in a variable of the endpoint that the request names ("env:MUSABI_SECRET_..."), or
in the endpoint's own variables. Only variables that begin with MUSABI_SECRET_ can be named: a request must not read
the rest of the environment.
"""

import re
from collections.abc import Mapping
from typing import Any

from musabi.children import is_secret_name, scrub
from musabi.serverless.request.look_up import at
from musabi.serverless.request.mistakes import Mistake, Refused
from musabi.serverless.request.own_s3_keys import own_keys_may_go
from musabi.serverless.settings import SECRET_PREFIX

HUB_TOKEN = "api_keys.huggingface_token"  # noqa: S105 - where it stands in a request, as the next four
GEMINI_KEY = "api_keys.gemini_api_key"
OUTPUT_TOKEN = "output.huggingface.token"  # noqa: S105
S3_ACCESS_KEY = "output.s3.access_key"
S3_SECRET_KEY = "output.s3.secret_key"  # noqa: S105
S3_SERVER = "output.s3.endpoint_url"
SECRET_PATHS = (HUB_TOKEN, GEMINI_KEY, OUTPUT_TOKEN, S3_ACCESS_KEY, S3_SECRET_KEY)
ADDRESS_PATHS = ("dataset.images_url", "dataset.videos_url")
"""Addresses whose query is a secret: that of a presigned link is the key to it."""
MASK = "***"
NAMED = "env:"
VARIABLE = re.compile(re.escape(SECRET_PREFIX) + r"[A-Z0-9_]{1,100}")
OWN_VARIABLES = {
    HUB_TOKEN: ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"),
    OUTPUT_TOKEN: ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"),
    GEMINI_KEY: ("GEMINI_API_KEY",),
    S3_ACCESS_KEY: ("AWS_ACCESS_KEY_ID",),
    S3_SECRET_KEY: ("AWS_SECRET_ACCESS_KEY",),
}
"""The endpoint's own variables for what a request leaves out; the first that is set counts."""
TOGETHER = (S3_ACCESS_KEY, S3_SECRET_KEY)
"""One of a pair is no use with the other's from elsewhere."""
SENT_PLAIN = "output.s3.access_key"
"""S3 sends it as it stands, to a server that the request names: no variable may be had that way but an id."""
ID_ENDS = "_ID"
NAMES_A_SECRET = re.compile(r"TOKEN|SECRET|PASSW|APIKEY|ACCESSKEY|PRIVATEKEY|AUTHORIZATION|CREDENTIAL")
"""What a key's name holds, its letters alone (apiKey, api-key), whose texts are no part of a request."""
WRONG = False
"""What stands for a secret that is no text: said later, with everything else that is wrong."""
DEEPEST = 32
SHORTEST_HIDDEN = 4


def is_secret_variable(name: str) -> bool:
    """Tell whether a variable of the endpoint is kept from the processes that do a job."""
    return is_secret_name(name) or name.startswith((SECRET_PREFIX, "AWS_"))


def long_enough_to_hide(secrets: Mapping[str, str]) -> tuple[str, ...]:
    """Return the secrets that are taken out of texts; shorter ones would tear holes into every word."""
    return tuple(value for value in secrets.values() if len(value) >= SHORTEST_HIDDEN)


def split_secrets(given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the input with *** for every secret, and the secrets by their path.

    What has the name of a secret elsewhere in the input, such as an API key of another service, is masked and dropped.

    Raises:
        Refused: the input is nested too deeply.
    """
    found: dict[str, str] = {}
    return _masked(given, "", found, 0), found


def secrets_of(given: Mapping[str, str], environ: Mapping[str, str], asked: object = None) -> dict[str, str]:
    """Return the secrets of a job by path: as given, from the variables that they name, or the endpoint's own.

    `asked` is the input: its output.s3.endpoint_url decides whether the endpoint's own S3 keys may go there.

    Raises:
        Refused: a variable can't be named, or is not set.
    """
    found = {}
    mistakes: list[Mistake] = []
    for path, text in given.items():
        try:
            found[path] = _looked_up(path, text, environ)
        except Refused as refused:
            mistakes += refused.mistakes
    if mistakes:
        raise Refused(mistakes)
    own = {path: value for path in SECRET_PATHS if (value := _own(path, environ))}
    paired = all(path in own for path in TOGETHER) and not any(path in given for path in TOGETHER)
    if not paired or not own_keys_may_go(at(asked, S3_SERVER), environ):
        own = {path: value for path, value in own.items() if path not in TOGETHER}
    return own | {path: value for path, value in found.items() if value}


def _looked_up(path: str, text: str, environ: Mapping[str, str]) -> str:
    if not text.startswith(NAMED):
        return text.strip()
    name = text.removeprefix(NAMED).strip()
    if not VARIABLE.fullmatch(name):
        message = (
            f"{path} may only name a variable of the endpoint that begins with {SECRET_PREFIX}, such as "
            f'"env:{SECRET_PREFIX}HF". Rename the variable, or send the secret itself.'
        )
        raise Refused([Mistake(path, message)])
    if path == SENT_PLAIN and not name.endswith(ID_ENDS):
        message = (
            f"{path} goes to the S3 server as it stands, so it may only name a variable that ends with {ID_ENDS}, "
            f'such as "env:{SECRET_PREFIX}S3{ID_ENDS}". Rename the variable.'
        )
        raise Refused([Mistake(path, message)])
    value = environ.get(name, "").strip()
    if not value:
        message = f"{path} names {name}, which the endpoint does not have. Set it on the endpoint."
        raise Refused([Mistake(path, message)])
    return value


def _own(path: str, environ: Mapping[str, str]) -> str:
    return next((text for name in OWN_VARIABLES[path] if (text := environ.get(name, "").strip())), "")


def _masked(
    values: Mapping[str, Any], path: str, found: dict[str, str], depth: int, *, secret: bool = False
) -> dict[str, Any]:
    return {
        str(name): _masked_value(
            f"{path}.{name}".lstrip("."), value, found, depth, secret=secret or names_a_secret(str(name))
        )
        for name, value in values.items()
    }


def names_a_secret(name: str) -> bool:
    """Tell whether a key has the name of a secret, however it is spelled."""
    return NAMES_A_SECRET.search(re.sub(r"[^A-Z]", "", name.upper())) is not None


def _masked_value(path: str, value: Any, found: dict[str, str], depth: int, *, secret: bool) -> Any:  # noqa: ANN401 - JSON
    if depth > DEEPEST:
        raise Refused([Mistake("input", f"The input is nested more than {DEEPEST} levels deep.")])
    if path in SECRET_PATHS:
        return _taken(path, value, found)
    if path in ADDRESS_PATHS and isinstance(value, str):
        return _without_query(path, value, found)
    if isinstance(value, Mapping):
        return _masked(value, path, found, depth + 1, secret=secret)
    if isinstance(value, list):
        return [_masked_value(path, one, found, depth + 1, secret=secret) for one in value]
    if isinstance(value, str) and value:
        return MASK if secret else scrub(value)
    return value


def _without_query(path: str, url: str, found: dict[str, str]) -> str:
    """Return the address with *** for its query; the whole of it goes to the secrets."""
    address, mark, query = url.partition("?")
    if not mark or query == MASK:
        return scrub(url)
    found[path] = url
    return f"{scrub(address)}?{MASK}"


def whole_address(path: str, masked: str, secrets: Mapping[str, str]) -> str:
    """Return the address at `path` with its query again.

    Raises:
        Refused: the query is gone, with the machine that held it.
    """
    if not masked.endswith(f"?{MASK}"):
        return masked
    if path not in secrets:
        message = f"{path} had a query, which is kept on no volume and is gone. Send it again with /retry."
        raise Refused([Mistake(path, message)])
    return secrets[path]


def _taken(path: str, value: Any, found: dict[str, str]) -> Any:  # noqa: ANN401 - any JSON value
    if value is None or (isinstance(value, str) and not value.strip()):
        return value
    if not isinstance(value, str):
        return WRONG
    if value != MASK:
        found[path] = value
    return MASK
