"""What follows a run: its results are published, then the pod is stopped, where either was asked for.

It happens in the run's own process, after the record says how the run ended, so that nobody has to look on.
"""

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from musabi.commands.show import say
from musabi.errors import MusabiError
from musabi.job.events import Event
from musabi.job.launch import After
from musabi.job.publishing import destination_of, mark_unpublished, note_destination
from musabi.job.queue import QUEUED
from musabi.job.record import RunFolder, RunState
from musabi.settings import Settings
from musabi.whole import read_json

OUTCOMES: dict[RunState, Literal["done", "failed"]] = {RunState.DONE: "done", RunState.FAILED: "failed"}
NO_WISH = {"on_finish": "none", "on_error": "none"}


def announce(settings: Settings, *, quiet: bool = False) -> bool:
    """Say (unless `quiet`) what follows the run that starts now, and return whether anything does.

    Raises:
        RequestError: PUBLISH_TO names no place that something can be published to, or its token is wrong.
    """
    settings = _its_own(settings)
    lines = []
    if settings.publish_to is not None:
        lines.append(f"Then: publish to {_place_to_publish_to(settings)}.")
    for variable, action in (("ON_FINISH", settings.on_finish), ("ON_ERROR", settings.on_error)):
        if action != "none":
            pod = "this pod" if settings.runpod_pod_id else "nothing, since this is not a Runpod pod"
            lines.append(f"{variable}: {action} {pod}. Call it off with: musabi pod keep")
    if lines and not quiet:
        say("\n".join(lines))
    return bool(lines)


def _place_to_publish_to(settings: Settings) -> str:
    from musabi.hub.access import Access
    from musabi.hub.destination import HubPlace, parse_destination
    from musabi.hub.to_hub import require_writer

    place = parse_destination(str(settings.publish_to), {"name": settings.output_name, "run": "RUN"})
    if isinstance(place, HubPlace):
        require_writer(Access(os.environ | settings.child_environment), place)
    return str(place)


def note_what_follows(settings: Settings, folder: RunFolder) -> None:
    """Note in a new run's folder that something follows it, and where it is to be published, for any process."""
    folder.after_file.touch()
    place = settings.publish_to
    if place is not None and ":" not in place:  # a folder, seen from here
        place = str(Path(place).expanduser().absolute())
    note_destination(folder, place)


def at_the_end(settings: Settings, first: After | None) -> After:
    """Return what the run's process does when the run has ended: `first`, publishing, stopping the pod."""
    settings = _its_own(settings)

    def after(folder: RunFolder, state: RunState) -> None:
        note = _noting(folder)
        outcome = OUTCOMES.get(state)
        published = True
        try:
            if first is not None:
                _report(first, folder, state, note)
            if outcome is not None:  # else a person stopped it
                published = publish_run(settings, folder, note)
        finally:
            with contextlib.suppress(OSError):
                folder.after_file.unlink(missing_ok=True)
        from musabi.pod.stopping import ended_by_hand, finish

        if outcome is None:
            ended_by_hand(settings)
            return
        kept = settings if published else _keep_what_is_here(settings, note)
        finish(kept, os.environ, outcome, note, since=_began(folder))

    return after


def _its_own(settings: Settings) -> Settings:
    """Return the settings without a wish for the pod where the queue started this run: the queue's end decides."""
    return settings.model_copy(update=NO_WISH) if os.environ.get(QUEUED) else settings


def _report(first: After, folder: RunFolder, state: RunState, note: Callable[[str], None]) -> None:
    try:
        first(folder, state)
    except Exception as problem:  # a page is not worth a pod that goes on
        note(f"The report was not written: {type(problem).__name__}: {problem}")


def _began(folder: RunFolder) -> float | None:
    """Return when the run was started (Unix seconds): a wish to keep the pod counts from then on."""
    values = read_json(folder.record_file)
    return float(values["created"]) if isinstance(values, dict) and "created" in values else None


def publish_run(settings: Settings, folder: RunFolder, note: Callable[[str], None]) -> bool:
    """Publish what a run made where its own PUBLISH_TO asks for it; return whether all is where it should be.

    `settings` are this process's: they give the tokens, and PUBLISH_TO for a run that noted none.
    """
    destination = destination_of(folder, settings.publish_to)
    if destination is None:
        return True
    from musabi.watch.publish import publish

    try:
        if not _has_loras(folder):
            return True
        environ = os.environ | settings.child_environment
        published = publish(folder, destination, environ, say=note)
    except Exception as problem:  # whatever it is, the pod must still be stopped
        said = str(problem) if isinstance(problem, MusabiError) else f"{type(problem).__name__}: {problem}."
        with contextlib.suppress(OSError):
            mark_unpublished(folder)
        note(f"Publishing failed: {said} Once that is mended: musabi publish {folder.path.name}")
        return False
    note(f"Published to {published.address}")
    return True


def _has_loras(folder: RunFolder) -> bool:
    """Tell whether there are LoRA files of the run's name where its job puts them."""
    job = folder.load().job
    return any(Path(str(job["output_dir"])).glob(f"{job['output_name']}*.safetensors"))


def _keep_what_is_here(settings: Settings, note: Callable[[str], None]) -> Settings:
    """Return the settings with a deletion softened to a stop: what was not published exists only here."""
    softer = {name: "stop" for name in ("on_finish", "on_error") if getattr(settings, name) == "delete"}
    if softer:
        note("The pod is stopped and not deleted, because the results exist only here.")
    return settings.model_copy(update=softer)


def _noting(folder: RunFolder) -> Callable[[str], None]:
    """Return a way to say something in the run's log and among its events."""

    def note(text: str) -> None:
        with contextlib.suppress(OSError):  # a full disk must not keep the pod from being stopped
            print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)
            with folder.events_file.open("a", encoding="utf-8") as file:
                file.write(Event(phase="after", message=text).to_json() + "\n")

    return note
