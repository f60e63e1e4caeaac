"""What a person sees while a run goes on: one line that moves in a terminal, some lines elsewhere."""

import sys
import time
from collections.abc import Iterator

from musabi.job.events import Event, parse
from musabi.job.record import RunFolder, RunRecord, RunState

POLL_SECONDS = 0.2
QUIET_LINE_SECONDS = 10.0
GOING_ON = (RunState.PLANNED, RunState.RUNNING)


def follow_events(folder: RunFolder) -> Iterator[Event | None]:
    """Yield the run's events as they are written, None while there is nothing new; end with the run."""
    position = 0
    while True:
        over = folder.load().state not in GOING_ON
        try:
            with folder.events_file.open(encoding="utf-8") as file:
                file.seek(position)
                while (line := file.readline()).endswith("\n"):
                    position = file.tell()
                    event = parse(line)
                    if event is not None:
                        yield event
        except FileNotFoundError:
            pass
        if over:
            return
        yield None
        time.sleep(POLL_SECONDS)


def watch(folder: RunFolder) -> RunRecord:
    """Show the run until it ends; return its record. Ctrl-C passes through as KeyboardInterrupt."""
    if sys.stdout.isatty():
        _watch_terminal(folder)
    else:
        _watch_plain(folder)
    return folder.load()


def describe(event: Event) -> str:
    """Return one line for an event of training or caching: step, epoch, loss, seconds a step, time left."""
    parts = [event.phase]
    if event.step is not None:
        parts.append(f"step {event.step}" + (f"/{event.steps}" if event.steps else ""))
    if event.epoch is not None and event.epochs:
        parts.append(f"epoch {event.epoch}/{event.epochs}")
    if event.loss is not None:
        parts.append(f"loss {event.loss:.4f}")
    if event.s_per_step is not None:
        parts.append(f"{event.s_per_step:.2f} s/step")
    if event.eta_s is not None:
        parts.append(f"{clock(event.eta_s)} left")
    return "  ".join(parts)


def clock(seconds: float) -> str:
    """Return a duration as m:ss or h:mm:ss."""
    whole = max(0, round(seconds))
    hours, rest = divmod(whole, 3600)
    minutes, second = divmod(rest, 60)
    return f"{hours}:{minutes:02d}:{second:02d}" if hours else f"{minutes}:{second:02d}"


def _watch_plain(folder: RunFolder) -> None:
    last = 0.0
    for event in follow_events(folder):
        if event is None or event.phase == "run":
            continue
        text = _message(event)
        if text is not None:
            print(text, flush=True)
        elif event.step is not None and time.monotonic() - last >= QUIET_LINE_SECONDS:
            print(describe(event), flush=True)
            last = time.monotonic()


def _watch_terminal(folder: RunFolder) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    console = Console(highlight=False)
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=None))
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("starting", total=None)
        for event in follow_events(folder):
            if event is None or event.phase == "run":
                continue
            text = _message(event)
            if text is not None:
                progress.console.print(text, markup=False)
            elif event.step is not None:
                progress.update(task, description=describe(event), completed=event.step, total=event.steps)


def _message(event: Event) -> str | None:
    if event.kind == "fixed-loss" and event.loss is not None:
        return f"loss on fixed noise: {event.loss:.4f}" + (f" at step {event.step}" if event.step else "")
    if event.file is not None and event.kind is not None:
        return f"{event.kind}: {event.file}"
    return event.message
