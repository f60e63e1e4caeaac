"""docs/endpoint.md says what is true: its tables are the code's, its examples are accepted, its links lead on."""

import json
import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from musabi.cli import FAMILIES
from musabi.serverless.http.openapi import OPERATIONS
from musabi.serverless.places import places
from musabi.serverless.request.fields import Dataset, HuggingfaceOutput, Output, Part, S3Output, Training
from musabi.serverless.request.mistakes import Refused
from musabi.serverless.request.model import read_request
from musabi.serverless.request.model_types import ORIGINAL, OURS
from musabi.serverless.request.secrets import OWN_VARIABLES, SECRET_PATHS, secrets_of, split_secrets
from musabi.serverless.settings import EndpointSettings, table

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "endpoint.md"
PARTS: dict[str, type[Part]] = {
    "dataset": Dataset,
    "training": Training,
    "output": Output,
    "output.huggingface": HuggingfaceOutput,
    "output.s3": S3Output,
}
OBJECTS = {"huggingface": "an object", "s3": "an object"}
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def settings_rows() -> list[str]:
    """Return the table of the endpoint's variables."""
    return ["| Variable | Default | What it does |", "|---|---|---|"] + [
        f"| `{name}` | {default} | {why} |" for name, default, why in table()
    ]


def model_rows() -> list[str]:
    """Return the table of the documented model types."""
    rows = ["| `model_type` | Model | Trained by |", "|---|---|---|"]
    for one in (*ORIGINAL, *OURS):
        by = f"musubi-tuner (`{one.recipe}`)" if one.recipe else "diffusion-pipe"
        rows.append(f"| `{one.name}` | {one.title} | {by} |")
    return rows


def field_rows() -> list[str]:
    """Return the table of a request's fields."""
    rows = ["| Field | Default | Must be |", "|---|---|---|"]
    for place, part in PARTS.items():
        for name, field in part.model_fields.items():
            if name in ("extra", "given", "asked"):
                continue
            must = field.description or OBJECTS.get(name, "precaptioned, images, videos or both")
            rows.append(f"| `{place}.{name}` | {shown_default(field)} | {must} |")
    return rows


def shown_default(field: Any) -> str:
    if field.is_required():
        return "required"
    value = list(field.default) if isinstance(field.default, tuple) else field.default
    return "none" if value is None else f"`{value if isinstance(value, str) else json.dumps(value)}`"


def secret_rows() -> list[str]:
    """Return the table of secrets."""
    rows = ["| Field | Where a request leaves it out |", "|---|---|"]
    return rows + [
        f"| `{path}` | {' or '.join(f'`{n}`' for n in OWN_VARIABLES[path])} |" for path in SECRET_PATHS
    ]


TABLES: dict[str, Callable[[], list[str]]] = {
    "settings": settings_rows,
    "models": model_rows,
    "fields": field_rows,
    "secrets": secret_rows,
}


def page() -> str:
    return PAGE.read_text(encoding="utf-8")


def blocks(kind: str) -> Iterator[str]:
    """Yield the fenced blocks of one kind."""
    for found in BLOCK.finditer(page()):
        if found[1] == kind:
            yield found[2]


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_the_one_that_the_code_has(name: str) -> None:
    begin = f"<!-- {name}: compared by tests/serverless/test_endpoint_docs.py -->\n"
    written = page().split(begin)[1].split("<!-- end -->")[0]
    made = "\n".join([*TABLES[name](), ""])
    assert written == made, f"Put this between the marks in docs/endpoint.md:\n{made}"


def test_the_requests_are_accepted_as_they_stand() -> None:
    requests = [value for text in blocks("json") if "input" in (value := json.loads(text))]
    assert len(requests) >= 3
    for body in requests:
        masked, given = split_secrets(body["input"])
        named = {text.removeprefix("env:"): "x" for text in given.values() if text.startswith("env:")}
        read_request(masked, secrets=secrets_of(given, named))


def test_the_first_mistake_is_said_as_the_page_says() -> None:
    (shown,) = [value for text in blocks("json") if "errors" in (value := json.loads(text))]
    with pytest.raises(Refused) as refused:
        read_request(
            {"model_type": "qwen", "dataset": {"type": "images"}, "training": {"epochs": 0}}, secrets={}
        )
    assert refused.value.answer() == shown


def test_every_path_of_the_interface_is_told_of() -> None:
    for operation in OPERATIONS:
        assert f"`{operation.method.upper()} {operation.path.replace('{job_id}', 'ID')}" in page()


def test_every_verb_and_variable_that_is_named_is_there() -> None:
    verbs = set(re.findall(r"^musabi (\w+)", "\n".join(blocks("sh")), re.MULTILINE))
    known = {verb for names in FAMILIES.values() for verb in names}
    assert verbs >= {"serve", "submit", "jobs"} and verbs <= known
    variables = {name.upper() for name in EndpointSettings.model_fields}
    assert set(re.findall(r"`(ENDPOINT_[A-Z_]+)`", page())) <= variables


def test_what_was_wrong_with_the_original_is_told_line_by_line() -> None:
    rows = re.findall(r"^\| ([a-o]) \| ", page(), re.MULTILINE)
    assert rows == list("abcdefghijklmno")


def test_the_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page()):
        assert target.startswith("https://") or (PAGE.parent / target).exists(), target


def test_the_folders_are_where_the_page_says(tmp_path: Path) -> None:
    (tmp_path / "volume").mkdir()
    found = places(Path("/workspace"), volume=tmp_path / "volume")
    inside = {str(getattr(found, name).relative_to(found.root)) for name in ("models", "jobs", "hf_home")}
    assert found.root.name == "musabi" and inside == {"models", "jobs", "cache/huggingface"}
    (tree,) = [text for text in blocks("text") if "models/" in text]
    assert tree.startswith("/runpod-volume/musabi/\n") and all(f"  {name}/" in tree for name in inside)


def test_the_job_file_reads(tmp_path: Path) -> None:
    from musabi.serverless.client.submission import read_submission

    (text,) = blocks("toml")
    assert tomllib.loads(text)
    file = tmp_path / "job.toml"
    file.write_text(text)
    submission = read_submission(file, "https://example.com/images.zip", None)
    read_request(submission.body["input"], secrets=dict.fromkeys(SECRET_PATHS, "there"))
