"""A job whose dataset comes from a loopback server, over a network of the test's own."""

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from musabi.serverless.context import Context
from musabi.serverless.delivery.updates import Updates
from musabi.serverless.intake.bring import bring
from musabi.serverless.job_folder import JobFolder
from musabi.serverless.parts import BroughtDataset, EngineChoice
from musabi.serverless.places import Places
from musabi.serverless.request.fields import Dataset
from musabi.serverless.settings import EndpointSettings
from peers.loopback_files import LoopbackFiles
from peers.recording_network import RecordingNetwork

if TYPE_CHECKING:
    from musabi.serverless.request.fields import TrainingRequest

PUBLIC = "93.184.216.34"
CHOICE = EngineChoice("musubi", "qwen-image", "Qwen Image", "for a test")


@dataclass(frozen=True)
class StandinRequest:
    """The part of a request that its dataset is brought by."""

    dataset: Dataset
    model_type: str = "qwen"


@dataclass
class Job:
    """A job's folder, and all that was said of it."""

    folder: JobFolder
    files: LoopbackFiles
    network: RecordingNetwork
    said: list[str] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def add(self, name: str, content: bytes) -> str:
        """Put a file on the server; return its public address, with a signature that must not be shown."""
        self.files.add(f"/{name}", content)
        return f"https://files.example/{name}?X-Amz-Signature=averysecretsignature"

    def context(self, dataset: dict[str, Any], **settings: Any) -> Context:
        self.folder.make("job-1", {"model_type": "qwen", "dataset": dataset})
        return Context(
            folder=self.folder,
            job_id="job-1",
            request=cast("TrainingRequest", StandinRequest(Dataset.model_validate(dataset))),
            choice=CHOICE,
            secrets={},
            environ={},
            settings=EndpointSettings(**settings),
            places=Places(self.folder.path.parent),
            updates=Updates(self.folder, self.said.append),
            stop=self.stop,
            say=self.said.append,
        )

    def bring(self, dataset: dict[str, Any], **settings: Any) -> BroughtDataset:
        return bring(self.context(dataset, **settings), self.network.as_network())
