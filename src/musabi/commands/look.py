"""Verbs that look on or end a run: status, logs, stop, report, tensorboard."""

import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from musabi.commands.options import Json, Set, settings_from
from musabi.commands.running import look_on, newest_or_named
from musabi.commands.show import record_as_text, say, say_json
from musabi.commands.view import describe, follow_events
from musabi.errors import ExitCode, MachineError, RequestError
from musabi.job.events import Event, read
from musabi.job.launch import ask_to_stop
from musabi.job.record import RunFolder, RunState, newest_run
from musabi.settings import Settings

Run = Annotated[str | None, typer.Option("--run", help="Id of the run; the newest where not given.")]
STOP_SECONDS = 330.0


def status_verb(pairs: Set = None, as_json: Json = False) -> None:
    """Say where the bootstrap and the newest run stand.

    Example: musabi status --json
    """
    settings = settings_from(pairs)
    folder = newest_run(settings.space.runs)
    values = {"bootstrap": _bootstrap(settings), "run": _run_values(folder), "stopping": _stopping(settings)}
    if as_json:
        say_json(values)
        return
    for line in _stopping_words(values["stopping"]):
        say(line)
    say(_bootstrap_words(values["bootstrap"]))
    if folder is None:
        say("No run yet.")
        return
    say(record_as_text(folder.load()))
    event = _newest_progress(folder)
    if event is not None:
        say(f"  {describe(event)}")


def logs_verb(
    run: Run = None,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on until the run ends.")] = False,
    pairs: Set = None,
    as_json: Json = False,
) -> None:
    """Print the trainer's own output, or with -f look on as `musabi train` does.

    Example: musabi logs -f
    """
    folder = newest_or_named(settings_from(pairs), run)
    if as_json:
        events = follow_events(folder) if follow else read(folder.events_file)
        for event in events:
            if event is not None:
                say(event.to_json())
        return
    if follow:
        look_on(folder)
        return
    if folder.log_file.exists():
        sys.stdout.write(folder.log_file.read_text(encoding="utf-8", errors="replace").replace("\r", "\n"))


def stop_verb(
    run: Run = None,
    after_save: Annotated[
        bool, typer.Option("--after-save", help="Wait for the next state, so that nothing is lost.")
    ] = False,
    pairs: Set = None,
    as_json: Json = False,
) -> None:
    """End a run. Says what was saved and how many steps are lost.

    Example: musabi stop --after-save
    """
    folder = newest_or_named(settings_from(pairs), run)
    record = folder.load()
    if record.state not in (RunState.PLANNED, RunState.RUNNING):
        raise RequestError(f"{record.id} is not running; it is {record.state.value}.")
    ask_to_stop(folder, after_save=after_save)
    deadline = None if after_save else time.monotonic() + STOP_SECONDS
    try:
        while (record := folder.load()).state in (RunState.PLANNED, RunState.RUNNING):
            if deadline is not None and time.monotonic() > deadline:
                raise MachineError(
                    f"{record.id} did not end within {STOP_SECONDS:.0f} s. Look at: musabi logs"
                )
            time.sleep(0.2)
    except KeyboardInterrupt:
        say(f"The request stands: {record.id} ends by itself. Look on with: musabi logs -f")
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    say_json(_run_values(folder)) if as_json else say(record.message or record.state.value)


def report_verb(
    run: Run = None,
    target: Annotated[Path | None, typer.Argument(help="The page to write.", show_default=False)] = None,
    pairs: Set = None,
    as_json: Json = False,
) -> None:
    """Write one page about a run: images, loss curves, samples, checkpoints, commands.

    Example: musabi report my-run.html
    """
    from musabi.watch.report import write_report

    settings = settings_from(pairs)
    folder = newest_or_named(settings, run) if run else newest_worth_telling(settings)
    page = write_report(folder, target)
    say_json({"report": str(page)}) if as_json else say(f"The report is {page}")


def tensorboard_verb(
    host: Annotated[
        str | None, typer.Option("--host", help="Address to listen on.", show_default=False)
    ] = None,
    port: Annotated[int | None, typer.Option("--port", help="Port to listen on.", show_default=False)] = None,
    logdir: Annotated[
        Path | None, typer.Option("--logdir", help="Folder to show.", show_default=False)
    ] = None,
    pairs: Set = None,
) -> None:
    """Show the loss curves in TensorBoard.

    Example: musabi tensorboard --port 6007
    """
    from musabi.watch.tensorboard import remark, start

    settings = settings_from(pairs, tensorboard_host=host, tensorboard_port=port, tensorboard_logdir=logdir)
    note = remark(settings.tensorboard_logdir)
    if note:
        say(note)
    say(f"TensorBoard: http://{settings.tensorboard_host}:{settings.tensorboard_port}")
    start(settings.tensorboard_logdir, settings.tensorboard_host, settings.tensorboard_port)


def newest_worth_telling(settings: Settings) -> RunFolder:
    """Return the newest run that trained, or else the newest run.

    Raises:
        RequestError: there is no run.
    """
    from musabi.job.record import runs

    for folder in reversed(runs(settings.space.runs)):
        if folder.load().plan.get("schedule"):
            return folder
    return newest_or_named(settings, None)


def _run_values(folder: RunFolder | None) -> dict[str, Any] | None:
    if folder is None:
        return None
    record = folder.load()
    event = _newest_progress(folder)
    return {
        "id": record.id,
        "folder": str(folder.path),
        "state": record.state.value,
        "message": record.message,
        "exit_code": record.exit_code,
        "progress": None if event is None else {k: v for k, v in vars(event).items() if v is not None},
        "files": [file.model_dump(mode="json") for file in record.files],
    }


def _newest_progress(folder: RunFolder) -> Event | None:
    newest = None
    for event in read(folder.events_file):
        if event.step is not None and event.file is None and event.kind is None:
            newest = event
    return newest


def _bootstrap(settings: Settings) -> dict[str, Any] | None:
    from musabi.pod.bootstrap.state import bootstrap_status

    state: dict[str, Any] | None = bootstrap_status(settings.space)
    return state


def _stopping(settings: Settings) -> dict[str, Any] | None:
    """Return how the pod's end stands, or None where this is no pod."""
    if not settings.runpod_pod_id:
        return None
    from musabi.pod.stopping.status import stopping_status

    return stopping_status(settings)


def _stopping_words(values: dict[str, Any] | None) -> list[str]:
    if values is None:
        return []
    from musabi.pod.stopping.status import loud_words

    return loud_words(values)


def _bootstrap_words(state: dict[str, Any] | None) -> str:
    if not state:
        return "The workspace was not bootstrapped yet. Run: musabi bootstrap"
    stages = state.get("stages", {})
    return "\n".join(
        f"{name}: {stage.get('state')}" + (f", {stage['message']}" if stage.get("message") else "")
        for name, stage in stages.items()
    )


def register(app: typer.Typer) -> None:
    """Add these verbs to the command line."""
    app.command("status")(status_verb)
    app.command("logs")(logs_verb)
    app.command("stop")(stop_verb)
    app.command("report")(report_verb)
    app.command("tensorboard")(tensorboard_verb)
