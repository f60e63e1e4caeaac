"""What follows a run: its results are published, then the pod is stopped, where either was asked for.

It happens in the run's own process, after the record says how the run ended, so that nobody has to look on.
"""

import os
import time
from collections.abc import Callable
from typing import Literal

from musabi.commands.show import say
from musabi.errors import MusabiError
from musabi.job.events import Event
from musabi.job.record import RunFolder, RunState
from musabi.settings import Settings

After = Callable[[RunFolder], None]
OUTCOMES: dict[RunState, Literal["done", "failed"]] = {RunState.DONE: "done", RunState.FAILED: "failed"}


def announce(settings: Settings, *, quiet: bool = False) -> bool:
    """Say (unless `quiet`) what follows the run that starts now, and return whether anything does.

    Raises:
        RequestError: PUBLISH_TO names no place that something can be published to, or its token is wrong.
    """
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


def at_the_end(settings: Settings, first: After | None) -> After:
    """Return what the run's process does when the run has ended: `first`, publishing, stopping the pod."""

    def after(folder: RunFolder) -> None:
        if first is not None:
            first(folder)
        outcome = OUTCOMES.get(folder.load().state)
        if outcome is None:  # a person stopped it
            return
        note = _noting(folder)
        published = outcome == "failed" or publish_run(settings, folder, note)
        from musabi.pod.stopping import finish

        finish(settings if published else _keep_what_is_here(settings, note), os.environ, outcome, note)

    return after


def publish_run(settings: Settings, folder: RunFolder, note: Callable[[str], None]) -> bool:
    """Publish a finished run where PUBLISH_TO asks for it; return whether all is where it should be."""
    if settings.publish_to is None:
        return True
    from musabi.watch.publish import publish

    try:
        environ = os.environ | settings.child_environment
        published = publish(folder, settings.publish_to, environ, say=note)
    except (MusabiError, OSError) as problem:
        note(f"Publishing failed: {problem} Once that is mended: musabi publish {folder.path.name}")
        return False
    note(f"Published to {published.address}")
    return True


def _keep_what_is_here(settings: Settings, note: Callable[[str], None]) -> Settings:
    """Return the settings with a deletion softened to a stop: what was not published exists only here."""
    if settings.on_finish != "delete":
        return settings
    note("The pod is stopped and not deleted, because the results exist only here.")
    return settings.model_copy(update={"on_finish": "stop"})


def _noting(folder: RunFolder) -> Callable[[str], None]:
    """Return a way to say something in the run's log and among its events."""

    def note(text: str) -> None:
        print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)
        with folder.events_file.open("a", encoding="utf-8") as file:
            file.write(Event(phase="after", message=text).to_json() + "\n")

    return note
