"""The course of a job: its phases one after another, and the answer that comes of them."""

import contextlib
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from musabi.children import Cancelled, scrub
from musabi.errors import ExitCode, MusabiError
from musabi.job.os_errors import plain_os_error
from musabi.job.record import RunFolder
from musabi.serverless.answers import cancelled, failed, success
from musabi.serverless.context import Context, Stopped
from musabi.serverless.delivery.deliver import require_deliverable
from musabi.serverless.delivery.updates import Updates
from musabi.serverless.job_folder import JobFolder
from musabi.serverless.phases import bring_dataset, caption, check, train, upload
from musabi.serverless.phases.train import TrainingFailedError
from musabi.serverless.phases.trainer_ready import require_trainer
from musabi.serverless.places import places
from musabi.serverless.request.engine_choice import choose_engine
from musabi.serverless.request.mistakes import Refused
from musabi.serverless.request.model import read_request
from musabi.serverless.request.secrets import is_secret_variable, long_enough_to_hide, secrets_of
from musabi.serverless.request.to_settings import untranslated
from musabi.serverless.settings import load
from musabi.settings import load as pod_settings

PHASES: tuple[tuple[str, Callable[[Context, Mapping[str, Any]], Any]], ...] = (
    ("dataset", bring_dataset.run),
    ("captions", caption.run),
    ("check", check.run),
    ("training", train.run),
    ("uploading", upload.run),
)
"""Each is given the outcomes of those before it, and returns its own as a JSON value."""
CLOSE_SECONDS = {"success": 60.0, "failed": 15.0}
"""How long the last updates may take to reach the hub: a job that failed must not hold a GPU for them."""


class Course:
    """One try at a job."""

    def __init__(
        self,
        folder: JobFolder,
        given: Mapping[str, str],
        environ: Mapping[str, str],
        stop: threading.Event,
    ) -> None:
        self._folder = folder
        self._stop = stop
        self._given = given
        self._named = environ
        self._secrets: dict[str, str] = {}
        self._hidden = tuple(value for value in given.values() if len(value) >= 4)
        self._environ = {name: value for name, value in environ.items() if not is_secret_variable(name)}
        self._updates: Updates | None = None

    def run(self) -> int:
        """Go through the phases and write the answer; return the exit code."""
        try:
            answer = self._answer()
        except (Stopped, Cancelled):
            why = self._folder.asked_to_stop() or "shutdown"
            if why == "shutdown":  # somebody goes on with it
                self._close("failed")
                return ExitCode.INTERRUPTED
            answer = cancelled(self._folder, why)
        except TrainingFailedError as problem:
            answer = failed(self._plain(str(problem)), output=self._plain(problem.log))
        except Refused as refused:
            answer = refused.answer()
        except MusabiError as problem:
            answer = failed(self._plain(str(problem)))
        except OSError as problem:
            answer = failed(self._plain(plain_os_error(problem)))
        except Exception as problem:
            self._say(self._plain(traceback.format_exc()))
            answer = failed(
                f"Something unexpected went wrong ({type(problem).__name__}). It stands in the job's log, "
                f"{self._folder.log_file}. Please report it."
            )
        if answer["status"] != "success" and self._updates is not None:
            self._updates.add("ERROR", {"error": answer["error"]})
        self._close(answer["status"])
        try:
            self._folder.finish(answer)
        except OSError as problem:
            self._say(f"The answer could not be written: {plain_os_error(problem)}")
            return ExitCode.MACHINE_CANNOT
        return ExitCode.DONE

    def say_failed(self) -> int:
        """Tell the hub of the failure in result.json; return the exit code."""
        answer = self._folder.result() or {}
        with contextlib.suppress(
            Refused, MusabiError, OSError
        ):  # it can't be told who to tell: it is answered
            self._context()
        if self._updates is not None and answer.get("error"):
            self._updates.add("ERROR", {"error": answer["error"]})
            self._close("failed")
        return ExitCode.DONE

    def _answer(self) -> dict[str, Any]:
        context = self._context()
        self._say(f"{context.choice.title}: {context.choice.why}")
        outcomes = still_standing(self._folder.phases(), self._folder)
        if "training" not in outcomes:
            require_trainer(context)
        warnings = [] if "uploading" in outcomes else [*require_deliverable(context)]
        warnings += untranslated(context.request, context.choice)
        for line in warnings:
            self._say(f"Warning: {line}")
        if not outcomes:
            context.updates.add(
                "STARTING",
                {
                    "message": f"Initializing {context.choice.title} training job",
                    "model_type": context.request.model_type,
                    "dataset_type": context.request.dataset.type,
                    "engine": context.choice.engine,
                    "training_config": context.request.training.as_asked(),
                },
            )
        for name, phase in PHASES:
            if name in outcomes:
                continue
            context.require_going_on()
            outcomes[name] = phase(context, outcomes)
            self._note(outcomes)
        return success(context, outcomes, warnings)

    def _note(self, outcomes: dict[str, Any]) -> None:
        """Note what is done. Where a full disk forbids it, a job whose result is handed over is done all the same."""
        try:
            self._folder.note_phases(outcomes)
        except OSError:
            if "uploading" not in outcomes:
                raise

    def _context(self) -> Context:
        self._secrets = secrets_of(self._given, self._named, self._folder.request)
        self._hidden = long_enough_to_hide(self._secrets)
        request = read_request(self._folder.request, secrets=self._secrets)
        settings = load(self._environ)
        found = places(pod_settings(self._environ).workspace, settings.endpoint_root)
        self._updates = Updates.of(request, self._secrets, self._folder, self._environ, self._say)
        return Context(
            folder=self._folder,
            job_id=self._folder.job_id,
            request=request,
            choice=choose_engine(request),
            secrets=self._secrets,
            environ=self._environ,
            settings=settings,
            places=found,
            updates=self._updates,
            stop=self._stop,
            say=self._say,
        )

    def _close(self, status: str) -> None:
        if self._updates is not None:
            self._updates.close(CLOSE_SECONDS[status])

    def _plain(self, text: str) -> str:
        return scrub(text, self._hidden)

    def _say(self, text: str) -> None:
        with contextlib.suppress(OSError):  # a full disk takes no log, which must not end a job
            print(f"{time.strftime('%H:%M:%S')} {self._plain(text)}", flush=True)


def still_standing(outcomes: Mapping[str, Any], folder: JobFolder) -> dict[str, Any]:
    """Return the outcomes that what lies on the disk bears out: a phase whose files were removed is done again.

    A training needs its run and a LoRA, until they are handed over; the phases before it need the dataset, until the
    training is done.
    """
    kept = dict(outcomes)
    if "uploading" in kept:
        return kept
    if "training" in kept and not is_trained(folder, kept["training"]):
        del kept["training"]
    brought = kept.get("dataset", {})
    folders = [Path(name) for kind in ("images", "videos") if (name := brought.get(f"{kind}_folder"))]
    if "training" in kept or all(path.is_dir() for path in folders):
        return kept
    return {}


def is_trained(folder: JobFolder, outcome: Mapping[str, Any]) -> bool:
    """Tell whether a training's run and a LoRA of it are there."""
    record = RunFolder(folder.space.runs / str(outcome.get("run"))).record_file
    return record.is_file() and next(folder.output.rglob("*.safetensors"), None) is not None
