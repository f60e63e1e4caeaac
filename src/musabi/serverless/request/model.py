"""Reads a request: an input of any form becomes a TrainingRequest, or is refused with all that is wrong with it."""

from collections.abc import Iterator, Mapping
from typing import Any

from musabi.serverless.request.fields import TrainingRequest, documented
from musabi.serverless.request.fitting import misfits
from musabi.serverless.request.look_up import at
from musabi.serverless.request.mistakes import Mistake, Refused, shown
from musabi.serverless.request.originals import original_mistakes
from musabi.serverless.request.reading import (
    TOP,
    read_dataset,
    read_output,
    read_training,
    spelling_mistakes,
)
from musabi.serverless.request.secrets import OUTPUT_TOKEN, S3_SERVER, SECRET_PATHS, TOGETHER

ENGINES = ("auto", "musubi", "diffusion_pipe", "diffusers")
MOST_WEIGHT = 10**6
"""Characters of an input: the documented ones have a few thousand, and each that waits is kept."""
API_KEYS = tuple(path.partition(".")[2] for path in SECRET_PATHS if path.startswith("api_keys."))
NEEDED_BY = {
    "huggingface": (OUTPUT_TOKEN,),
    "s3": TOGETHER,
}
"""The secrets that a way of handing over can't do without."""
OWN_KEYS = (
    " The endpoint's own keys go to Amazon S3 and to its own AWS_ENDPOINT_URL alone. Send keys for this "
    "output.s3.endpoint_url, or set that variable on the endpoint."
)


def read_request(given: object, *, secrets: Mapping[str, str] | None = None) -> TrainingRequest:
    """Return the request that an input holds. `secrets` are those of `secrets_of`; in the input they may be ***.

    Raises:
        Refused: the input is wrong; it says everything that is, in sentences without secrets.
    """
    if not isinstance(given, Mapping):
        raise Refused([Mistake("input", "input must be an object with model_type and dataset.")])
    if weight(given) > MOST_WEIGHT:
        said = f"The input is larger than {MOST_WEIGHT // 10**6} MB. Put the dataset on a server and send its address."
        raise Refused([Mistake("input", said)])
    held = dict(secrets or {})
    found = list(original_mistakes(given, lambda path: path in held or _says(at(given, path))))
    found += spelling_mistakes("", given, TOP)
    dataset = read_dataset(given, found.append)
    training = read_training(given, found.append)
    output = read_output(given, found.append)
    found += _engine_mistakes(given)
    found += _secret_mistakes(given, held)
    wrong = frozenset(one.path for one in found)
    request = TrainingRequest(
        model_type="" if "model_type" in wrong else given["model_type"],
        engine="auto" if "engine" in wrong else given.get("engine") or "auto",
        dataset=dataset,
        training=training,
        output=output,
    )
    found += misfits(request, wrong, tuple(documented(type(training))))
    if found:
        raise Refused(found)
    return request


def _engine_mistakes(given: Mapping[str, Any]) -> Iterator[Mistake]:
    engine = given.get("engine")
    if engine is not None and engine not in ENGINES:
        yield Mistake("engine", f"engine must be one of {', '.join(ENGINES)}, not {shown(engine)}.")


def _secret_mistakes(given: Mapping[str, Any], held: Mapping[str, str]) -> Iterator[Mistake]:
    """Yield secrets that are no text, and those that the way of handing over can't do without."""
    keys = given.get("api_keys")
    if keys is not None and not isinstance(keys, Mapping):
        yield Mistake("api_keys", "api_keys must be an object.")
    elif keys is not None:
        yield from spelling_mistakes("api_keys", keys, API_KEYS)
    for path in SECRET_PATHS:
        value = at(given, path)
        if value is not None and not isinstance(value, str):
            yield Mistake(path, f"{path} must be text.")
    output = given.get("output")
    method = output.get("method") if isinstance(output, Mapping) else None
    if method == "s3" and isinstance(output, Mapping) and output.get("s3") is None:
        yield Mistake("output.s3", "output.s3 is missing. output.method s3 needs its bucket and keys.")
        return
    for path in NEEDED_BY.get(method, ()) if isinstance(method, str) else ():
        if not _says(at(given, path)) and path not in held:
            elsewhere = method == "s3" and at(given, S3_SERVER)
            yield Mistake(
                path, f"{path} is missing, and output.method {method} needs it.{OWN_KEYS * bool(elsewhere)}"
            )


def _says(secret: object) -> bool:
    """Tell whether there is something in the place of a secret; whether it is text is told apart from that."""
    return secret is not None and not (isinstance(secret, str) and not secret.strip())


def weight(given: object) -> int:
    """Return about how many characters a value takes as JSON."""
    total, left = 0, [given]
    while left:
        one = left.pop()
        total += len(one) if isinstance(one, str) else 4
        if isinstance(one, Mapping):
            left += [*one, *one.values()]
        elif isinstance(one, list | tuple):
            left += one
    return total
