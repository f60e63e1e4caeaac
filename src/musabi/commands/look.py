"""Verbs that look on or end a run: status, logs, stop, report, tensorboard."""

import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from musabi.commands.options import Json, Set, settings_from
from musabi.commands.running import going_or_named, look_on, newest_or_named
from musabi.commands.show import record_as_text, say, say_json
from musabi.commands.view import describe, follow_events
from musabi.errors import ExitCode, MachineError, RequestError
from musabi.job.events import Event, read
from musabi.job.launch import STOP_SECONDS, ask_to_stop
from musabi.job.record import GOING_ON, RunFolder, going_on, newest_run, readable_runs
from musabi.settings import Settings

Run = Annotated[
    str | None, typer.Option("--run", help="Id of the run; the newest that goes on where not given.")
]


def status_verb(pairs: Set = None, as_json: Json = False) -> None:
    """Say where the bootstrap and the runs that go on stand, or where none does the newest.

    Example: musabi status --json
    """
    settings = settings_from(pairs)
    going = going_on(settings.space.runs)
    newest = newest_run(settings.space.runs)
    shown = going or ([newest] if newest else [])
    values: dict[str, Any] = {
        "bootstrap": _bootstrap(settings),
        "run": _run_values(shown[-1] if shown else None),
        "runs": [_run_values(folder) for folder in going],
        "stopping": _stopping(settings),
    }
    if as_json:
        say_json(values)
        return
    for line in _stopping_words(values["stopping"]):
        say(line)
    say(_bootstrap_words(values["bootstrap"]))
    if not shown:
        say("No run yet.")
    for folder in shown:
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
    folder = going_or_named(settings_from(pairs), run)
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
    run: Annotated[
        str | None, typer.Option("--run", help="Id of the run; needed where several go on.")
    ] = None,
    all_runs: Annotated[bool, typer.Option("--all", help="End all runs that go on.")] = False,
    after_save: Annotated[
        bool, typer.Option("--after-save", help="Wait for the next state, so that nothing is lost.")
    ] = False,
    pairs: Set = None,
    as_json: Json = False,
) -> None:
    """End a run. Says what was saved and how many steps are lost.

    Example: musabi stop --after-save
    """
    folders = runs_to_end(settings_from(pairs), run, all_runs=all_runs)
    for folder in folders:
        ask_to_stop(folder, after_save=after_save)
    deadline = None if after_save else time.monotonic() + STOP_SECONDS
    try:
        for folder in folders:
            _wait_for_end(folder, deadline)
    except KeyboardInterrupt:
        names = " and ".join(folder.path.name for folder in folders)
        say(f"The request stands: {names} will end. Look on with: musabi logs -f")
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    if as_json:
        values = [_run_values(folder) for folder in folders]
        say_json({"runs": values} if all_runs else values[0])
        return
    for folder in folders:
        record = folder.load()
        said = record.message or record.state.value
        say(f"{record.id}: {said}" if len(folders) > 1 else said)


def runs_to_end(settings: Settings, name: str | None, *, all_runs: bool) -> list[RunFolder]:
    """Return the runs that are meant: the named one, all that go on, or the only one.

    Raises:
        RequestError: none goes on, or several do and none was named.
    """
    going = going_on(settings.space.runs)
    if all_runs and going:
        return going
    if name is None and len(going) > 1:
        names = ", ".join(folder.path.name for folder in going)
        raise RequestError(
            f"Several runs go on: {names}. Name one with --run, or end all with musabi stop --all."
        )
    folder = going_or_named(settings, name)
    record = folder.load()
    if record.state not in GOING_ON:
        raise RequestError(f"{record.id} is not running; it is {record.state.value}.")
    return [folder]


def _wait_for_end(folder: RunFolder, deadline: float | None) -> None:
    while folder.load().state in GOING_ON:
        if deadline is not None and time.monotonic() > deadline:
            name = folder.path.name
            raise MachineError(
                f"{name} did not end within {STOP_SECONDS:.0f} s. Look at: musabi logs --run {name}"
            )
        time.sleep(0.2)


def report_verb(
    run: Annotated[
        str | None, typer.Option("--run", help="Id of the run; the newest where not given.")
    ] = None,
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
    for folder, record in readable_runs(settings.space.runs):
        if record.plan.get("schedule"):
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
