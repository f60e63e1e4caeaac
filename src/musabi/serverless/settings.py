"""The endpoint's own environment variables, as one typed object: each field is a row of docs/endpoint.md.

Everything else (HF_TOKEN, WORKSPACE, MUSUBI_REF, ...) means the same here as on a pod.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from musabi.errors import RequestError
from musabi.settings import Switch

SECRET_PREFIX = "MUSABI_SECRET_"  # noqa: S105 - the beginning of a variable's name
GEMINI_MODELS = ("gemini-3.8-flash", "gemini-3.7-flash", "gemini-3.6-flash", "gemini-3.5-flash-lite")


def _list(value: object) -> object:
    return (
        tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value
    )


Names = Annotated[tuple[str, ...], BeforeValidator(_list)]


def _row(default: Any, why: str, **rules: Any) -> Any:  # noqa: ANN401 - as pydantic's Field
    return Field(default, description=why, **rules)


class EndpointSettings(BaseModel):
    """The endpoint's variables. A default of None means: not set."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    musabi_api_key: str | None = _row(
        None,
        "key that clients of musabi serve send; without it the server listens on loopback only",
        repr=False,
    )
    endpoint_root: Path | None = _row(
        None,
        "folder of jobs and models; /runpod-volume/musabi where there is a volume, else WORKSPACE/endpoint",
    )
    endpoint_host: str = _row("127.0.0.1", "address that musabi serve listens on")
    endpoint_port: int = _row(8000, "port of musabi serve", ge=0, le=65535)
    endpoint_most_waiting: int = _row(500, "jobs that may wait; more are answered 429", ge=1)
    endpoint_most_dataset_gb: float = _row(50, "largest dataset archive in GB (10^9 bytes)", gt=0)
    endpoint_keep_hours: float = _row(
        72, "hours after which the folder of an ended job is removed; its answer stays", gt=0
    )
    endpoint_install_trainers: Switch = _row(
        True,
        "1: a job whose trainer is not here has it installed; 0, as the serverless image sets it: is refused",
    )
    endpoint_captioner: str = _row(
        "joycaption", "captions images where a request does not say: see docs/captions.md"
    )
    gemini_api_key: str | None = _row(
        None, "Gemini key for captioning videos, where a request brings none", repr=False
    )
    gemini_models: Names = _row(GEMINI_MODELS, "Gemini models, tried in this order")
    gemini_url: str = _row("https://generativelanguage.googleapis.com", "Gemini's address")
    file_hosts: Names = _row(
        ("litterbox",),
        'public hosts that method "auto" may use, in this order: litterbox, transfer_sh, file_io',
    )
    litterbox_url: str = _row(
        "https://litterbox.catbox.moe/resources/internals/api.php", "litterbox's address"
    )
    transfer_sh_url: str | None = _row(
        None, "address of a transfer.sh server; the public one has been down since 2023"
    )
    file_io_url: str | None = _row(None, "address of a file.io server; the public one is gone")


def load(environ: Mapping[str, str]) -> EndpointSettings:
    """Return the settings of an environment; an empty variable counts as not set.

    Raises:
        RequestError: a value can't be right; the message names the variable.
    """
    values = {
        name: environ[name.upper()]
        for name in EndpointSettings.model_fields
        if environ.get(name.upper(), "").strip()
    }
    try:
        return EndpointSettings.model_validate(values)
    except ValidationError as wrong:
        error = wrong.errors()[0]
        name = str(error["loc"][0])
        default = EndpointSettings.model_fields[name].default
        raise RequestError(
            f'{name.upper()} is "{values[name]}", which can\'t be right ({error["msg"].lower()}). '
            f"The default is {default}."
        ) from None


def table() -> list[tuple[str, str, str]]:
    """Return the rows of the table in docs/endpoint.md: (variable, default, what it does)."""
    rows = []
    for name, field in EndpointSettings.model_fields.items():
        default = field.default
        rows.append((name.upper(), _shown(default), str(field.description)))
    return rows


def _shown(default: object) -> str:
    if isinstance(default, tuple):
        return ", ".join(default)
    if isinstance(default, bool):
        return str(int(default))
    return "not set" if default is None else str(default)
