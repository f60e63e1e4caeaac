"""The weights of a job: there and held while it trains."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from musabi.errors import RequestError
from musabi.hub.access import Access
from musabi.hub.faults import HubError
from musabi.serverless.context import Context
from musabi.serverless.models import locks
from musabi.serverless.models.bring import bring
from musabi.serverless.models.errand import Errand, Tell
from musabi.serverless.models.ledger import Ledger
from musabi.serverless.models.sources import FileSet, rows_of, sets_of
from musabi.serverless.parts import EngineChoice, JobWeights
from musabi.serverless.places import Places, places
from musabi.serverless.request.secrets import HUB_TOKEN
from musabi.settings import Settings
from musabi.settings import load as pod_settings

FOR_A_REQUEST = (
    ("run musabi bootstrap again", "send the job again"),
    ("HF_TOKEN", f"{HUB_TOKEN} (or the endpoint's HF_TOKEN)"),
)
"""How the hub's errors are said to somebody who has no shell on the machine."""
FOR_A_DOWNLOAD = (("run musabi bootstrap again", "run this again"),)


@contextmanager
def held_models(context: Context) -> Iterator[JobWeights]:
    """Yield the weights of a job: found, else fetched, and kept from leaving the disk until the block ends.

    Raises:
        HubError: the hub refused or could not be reached.
        MachineError: there is no room for them.
        RequestError: it is not known what the model is made of.
        Cancelled: the job was asked to end.
    """
    settings = pod_settings(context.environ)
    errand = Errand(
        context.places,
        access_of(context.places, settings, context.environ, context.secrets.get(HUB_TOKEN)),
        context.choice.title,
        lambda text, percent: context.tell("models", text, progress=percent),
        context.say,
        context.stop,
    )
    sets = sets_of(context.choice)
    with _held(context.places, sets):
        with _said(FOR_A_REQUEST):
            where = bring(errand, sets)
        rows = rows_of(context.choice, sets, where, context.places.models)
        yield JobWeights(rows, context.places.hf_home)


@contextmanager
def _said(words: tuple[tuple[str, str], ...]) -> Iterator[None]:
    """Say the hub's errors in other words."""
    try:
        yield
    except HubError as fault:
        text = str(fault)
        for ours, theirs in words:
            text = text.replace(ours, theirs)
        raise HubError(text, fault.kind, fault.retry) from None


def access_of(
    endpoint: Places, settings: Settings, environ: Mapping[str, str], token: str | None = None
) -> Access:
    """Return the way to the hub: the endpoint's environment, its own cache, and the token of the request."""
    environment = dict(environ) | settings.child_environment | {"HF_HOME": str(endpoint.hf_home)}
    return Access(environment | ({"HF_TOKEN": token} if token else {}), max_workers=settings.hf_max_workers)


def fill(
    volume: Path, choice: EngineChoice, settings: Settings, environ: Mapping[str, str], tell: Tell
) -> Path:
    """Fetch a model to a volume, as an endpoint that has it mounted finds it; return the endpoint's folder there.

    `volume` is where it is mounted here: /workspace on a pod.

    Raises:
        RequestError, MachineError, HubError: it can't be done.
    """
    if not volume.is_dir():
        raise RequestError(
            f"There is no folder {volume}. Name the place where the endpoint's volume is mounted."
        )
    endpoint = places(volume, volume=volume)
    errand = Errand(
        endpoint,
        access_of(endpoint, settings, environ),
        choice.title,
        tell,
        lambda text: tell(text, None),
    )
    sets = sets_of(choice)
    with _held(endpoint, sets), _said(FOR_A_DOWNLOAD):
        bring(errand, sets)
    return endpoint.root


def _held(endpoint: Places, sets: tuple[FileSet, ...]) -> AbstractContextManager[None]:
    return locks.holding(Ledger(endpoint).folder, {one.unit for one in sets if not one.in_hub_cache})
