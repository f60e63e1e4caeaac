"""What every phase of a job is given."""

import contextlib
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from musabi.serverless.job_folder import JobFolder
from musabi.serverless.parts import EngineChoice
from musabi.serverless.places import Places
from musabi.serverless.progress import Phase, Progress
from musabi.serverless.settings import EndpointSettings

if TYPE_CHECKING:
    from musabi.serverless.delivery.updates import Updates
    from musabi.serverless.request.fields import TrainingRequest


class Stopped(Exception):  # noqa: N818 - a request, not an error
    """The job was asked to end."""


@dataclass(frozen=True)
class Context:
    """One job at work. `secrets` are by their path in the request; `environ` holds none of them.

    `say` writes a line into the job's log. `stop` is set when the job shall end.
    """

    folder: JobFolder
    job_id: str
    request: "TrainingRequest"
    choice: EngineChoice
    secrets: Mapping[str, str]
    environ: Mapping[str, str]
    settings: EndpointSettings
    places: Places
    updates: "Updates"
    stop: threading.Event
    say: Callable[[str], None]

    def tell(self, phase: Phase, message: str, **more: Any) -> None:  # noqa: ANN401 - Progress's own fields
        """Say how the job stands, for the client that waits. A full disk keeps it from the client, no more."""
        with contextlib.suppress(OSError):
            self.folder.tell(Progress(phase, message, **more))

    def require_going_on(self) -> None:
        """Raise Stopped where the job was asked to end."""
        if self.stop.is_set():
            raise Stopped
