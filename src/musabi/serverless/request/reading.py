"""Reads the parts of an input into typed values; everything that is wrong is found, not only the first of it.

What is wrong goes to `note`, and the part is returned without it: the rest can still be looked at.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any, TypeVar

from pydantic import ValidationError

from musabi.errors import RequestError
from musabi.hub.addresses import require_encryption, require_form
from musabi.serverless.request.fields import (
    Dataset,
    HuggingfaceOutput,
    Output,
    Part,
    S3Output,
    Training,
    documented,
    known_of,
)
from musabi.serverless.request.mistakes import Mistake, shown
from musabi.serverless.request.originals import TYPES
from musabi.serverless.request.secrets import SECRET_PATHS

P = TypeVar("P", bound=Part)
Note = Callable[[Mistake], None]
TOP = (
    "model_type",
    "engine",
    "dataset",
    "training",
    "output",
    "api_keys",
    "model_dtype",
    "transformer_dtype",
)
ALSO_AT_THE_TOP = ("model_dtype", "transformer_dtype")
"""Parameters that the original's schema has outside of training, too."""
SPELLING = 0.8
"""How like a known name an unknown one must be to count as a slip; others are passed over, as ever."""
MOST_EXTRA = 256
"""More than a trainer has arguments; each unknown one is compared with all of them."""
MAY_BE_EMPTY = ("images_url", "videos_url", "trigger_word", "repo_id", "endpoint_url", "region", "key_prefix")
STAND_INS: dict[type[Part], dict[str, Any]] = {
    Dataset: {"type": "precaptioned"},
    S3Output: {"bucket": "not-known"},
}
"""What stands for a field that must be given and is not there, or wrong."""
WITH_OTHER_KEYS = {"output": ("upload_url",)}
"""Keys that the original's documents name and that never did anything."""


def read_dataset(given: Mapping[str, Any], note: Note) -> Dataset:
    """Return the dataset part, what is right of it; a wrong type is said elsewhere (`originals`)."""
    values = _object(given, "dataset", note)
    part = _part(Dataset, "dataset", values, note, said_elsewhere=("type",))
    for one in _dataset_mistakes(part, values):
        note(one)
    return part


def read_training(given: Mapping[str, Any], note: Note) -> Training:
    """Return the training part with its unknown keys, what is right of it."""
    values = _object(given, "training", note)
    top = {name: given[name] for name in ALSO_AT_THE_TOP if given.get(name) is not None}
    known = top | known_of(Training, values)
    names = documented(Training)
    extra = {str(name): value for name, value in values.items() if name not in names and value is not None}
    if len(extra) > MOST_EXTRA:
        note(
            Mistake(
                "training",
                f"training holds {len(extra):,} keys that are no fields; {MOST_EXTRA} may be there.",
            )
        )
        extra = {}
    part = _validated(Training, "training", known, note)
    right = part.model_fields_set
    return part.model_copy(update={"extra": extra, "given": frozenset(right), "asked": dict(values)})


def read_output(given: Mapping[str, Any], note: Note) -> Output:
    """Return the output part, what is right of it."""
    values = _object(given, "output", note)
    made: dict[str, Any] = {}
    for name, kind in (("huggingface", HuggingfaceOutput), ("s3", S3Output)):
        made[name] = None
        if isinstance(values.get(name), Mapping):
            made[name] = _part(kind, f"output.{name}", values[name], note)
        elif values.get(name) is not None:
            note(_no_object(f"output.{name}", values[name]))
    rest = {name: value for name, value in values.items() if name not in made}
    output = _part(Output, "output", rest, note)
    if made["s3"] is not None and made["s3"].endpoint_url is not None:
        for one in _address_mistakes("output.s3.endpoint_url", made["s3"].endpoint_url):
            note(one)
    return output.model_copy(update=made)


def spelling_mistakes(path: str, names: Iterable[object], known: Iterable[str]) -> Iterator[Mistake]:
    """Yield the names that look like a slip of a known one."""
    candidates = list(known)
    for name in names:
        if isinstance(name, str) and name not in candidates and len(name) <= 64:
            near = get_close_matches(name, candidates, n=1, cutoff=SPELLING)
            if near:
                where = f"{path}.{name}".lstrip(".")
                said = f"{shown(where, quoted=False)} is no field of a request. Did you mean {near[0]}?"
                yield Mistake(shown(where, quoted=False), said)


def _object(values: Mapping[str, Any], name: str, note: Note) -> Mapping[str, Any]:
    """Return an object of the input; {} where it is left out, or none."""
    value = values.get(name)
    if isinstance(value, Mapping):
        return value
    if value is not None:
        note(_no_object(name, value))
    elif name == "dataset" and name in values:
        note(Mistake(name, "dataset must be an object with a type and an address."))
    return {}


def _no_object(path: str, value: object) -> Mistake:
    return Mistake(path, f"{path} must be an object, not {shown(value)}.")


def _part(
    kind: type[P], path: str, values: Mapping[str, Any], note: Note, said_elsewhere: tuple[str, ...] = ()
) -> P:
    """Return a part of fixed fields, what is right of it; a text that may be left out may be empty."""
    secret = [one.rpartition(".")[2] for one in SECRET_PATHS if one.rpartition(".")[0] == path]
    below = ("huggingface", "s3") if kind is Output else ()
    known = (*documented(kind), *secret, *below, *WITH_OTHER_KEYS.get(path, ()))
    for one in spelling_mistakes(path, values, known):
        note(one)
    given = {
        name: value
        for name, value in known_of(kind, values).items()
        if not (name in MAY_BE_EMPTY and value == "")
    }
    return _validated(kind, path, given, note, said_elsewhere)


def _validated(
    kind: type[P], path: str, given: Mapping[str, Any], note: Note, said_elsewhere: tuple[str, ...] = ()
) -> P:
    try:
        return kind.model_validate(given)
    except ValidationError as wrong:
        names = dict.fromkeys(str(error["loc"][0]) for error in wrong.errors(include_input=False))
    must = documented(kind)
    for name in names:
        if name in said_elsewhere:
            continue
        if name in given:
            note(
                Mistake(
                    f"{path}.{name}", f"{path}.{name} must be {must[name]}, not {_told(name, given[name])}."
                )
            )
        else:
            note(Mistake(f"{path}.{name}", f"{path}.{name} is missing. It is {must[name]}."))
    right = {name: value for name, value in given.items() if name not in names}
    return kind.model_validate(STAND_INS.get(kind, {}) | right)


def _told(name: str, value: object) -> str:
    """Return a value for a message; an address may carry a key in its query."""
    return "that" if name.endswith("_url") else shown(value)


def _dataset_mistakes(part: Dataset, values: Mapping[str, Any]) -> Iterator[Mistake]:
    known = values.get("type") in TYPES
    for kind in ("images", "videos"):
        path = f"dataset.{kind}_url"
        if kind in part.addresses:
            yield from _address_mistakes(path, part.addresses[kind])
        elif known and part.type in (kind, "both") and values.get(f"{kind}_url", 0) in (None, ""):
            yield Mistake(path, f"{path} must be a web address, not nothing.")
    given = any(values.get(f"{kind}_url") not in (None, "") for kind in ("images", "videos"))
    if known and part.type == "precaptioned" and not given:
        said = "dataset.images_url or dataset.videos_url is missing. Give the address of an archive."
        yield Mistake("dataset", said)
    if part.caption_with == "gemini" and part.type == "images":
        said = "dataset.caption_with is gemini, which captions videos here. Name joycaption or qwen2.5-vl."
        yield Mistake("dataset.caption_with", said)


def _address_mistakes(path: str, url: str) -> Iterator[Mistake]:
    try:
        scheme, host, _ = require_form(url)
    except RequestError:
        yield Mistake(
            path,
            f"{path} must be an https:// address of a host, without a user or password in it.",
        )
        return
    try:
        require_encryption(scheme, shown(host, quoted=False))
    except RequestError as plain:
        yield Mistake(path, f"{path}: {plain}")
