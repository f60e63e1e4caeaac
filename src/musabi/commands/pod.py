"""Verbs for the pod itself: stop, delete, keep, guard, status, and cost."""

import os
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from musabi.commands.ending import publish_run
from musabi.commands.options import Json, Set, settings_from
from musabi.commands.show import say, say_json
from musabi.errors import ExitCode, MachineError, RequestError
from musabi.settings import Settings

if TYPE_CHECKING:
    from musabi.job.record import RunFolder
    from musabi.pod.stopping.deadline import Action

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")]
Force = Annotated[bool, typer.Option("--force", help="End a run that goes on first; it saves what it can.")]
KEPT = {
    "stop": "Stopping frees the GPU and ends its price. What lies under {root} stays; the rest of the disk is lost.",
    "delete": "Deleting removes the pod and everything that is not on a network volume, for good. "
    "Without a network volume that is all of {root}: models, dataset and LoRAs.",
}

pods = typer.Typer(name="pod", help="Stop, delete or keep this pod.", no_args_is_help=True)


def stop_verb(yes: Yes = False, force: Force = False, pairs: Set = None, as_json: Json = False) -> None:
    """Stop this pod now. The GPU is freed; what lies in the workspace stays.

    Example: musabi pod stop --yes
    """
    _end(settings_from(pairs), "stop", yes=yes, force=force, as_json=as_json)


def delete_verb(yes: Yes = False, force: Force = False, pairs: Set = None, as_json: Json = False) -> None:
    """Delete this pod now, with everything that is not on a network volume.

    Example: musabi pod delete
    """
    _end(settings_from(pairs), "delete", yes=yes, force=force, as_json=as_json)


def keep_verb(
    hours: Annotated[
        float | None,
        typer.Option(
            "--hours", min=0.01, max=10_000.0, help="How long; 1 where not given.", show_default=False
        ),
    ] = None,
    pairs: Set = None,
    as_json: Json = False,
) -> None:
    """Call an announced stop off. Puts the end of MAX_HOURS off and starts the clock of IDLE_MINUTES anew.

    Example: musabi pod keep --hours 2
    """
    from musabi.pod.stopping.keep import keep, keep_words

    kept = keep(settings_from(pairs), hours)
    say_json(kept) if as_json else say("\n".join(keep_words(kept)))


def status_verb(pairs: Set = None, as_json: Json = False) -> None:
    """Say when and why this pod will be stopped.

    Example: musabi pod status --json
    """
    from musabi.pod.stopping.status import status_words, stopping_status

    now = time.time()
    values = stopping_status(settings_from(pairs), now=now)
    say_json(values) if as_json else say("\n".join(status_words(values, now)))


def guard_verb(pairs: Set = None) -> None:
    """Watch over the pod and stop it by MAX_HOURS and IDLE_MINUTES. The pod's boot starts this.

    Example: musabi pod guard --set idle_minutes=30
    """
    from musabi.pod.stopping.guard import guard

    settings = settings_from(pairs)

    def publish_first(ended: "RunFolder | None") -> None:
        if ended is not None:
            publish_run(settings, ended, say)

    guard(settings, os.environ, say, before_stop=publish_first)


def cost_verb(pairs: Set = None, as_json: Json = False) -> None:
    """Say what the pod costs: the rate, what was spent, what the rest of the run will cost.

    Example: musabi cost --set price_per_hour=0.74
    """
    from musabi.pod.stopping.container import container_started
    from musabi.pod.stopping.cost import facts_or_reason, spending, spending_words
    from musabi.pod.stopping.provider import this_pod
    from musabi.pod.stopping.run_here import running_folder

    settings = settings_from(pairs)
    facts = facts_or_reason(settings, lambda: this_pod(settings, os.environ))
    run = running_folder(settings.space)
    cost = spending(settings, facts, container_started=container_started(), now=time.time(), run=run)
    say_json(cost.as_json()) if as_json else say("\n".join(spending_words(cost)))


def _end(settings: Settings, action: "Action", *, yes: bool, force: bool, as_json: bool) -> None:
    """Stop or delete the pod, after a question where a person can answer it.

    Raises:
        RequestError: this is no pod, a run goes on or is being published, another process stops the pod, or
            nobody can be asked and --yes was not given.
        MachineError: Runpod did not accept it, or a run that was ended for a deletion could not be published.
    """
    from musabi.pod.stopping.provider import CONSOLE, NO_WAY, ask_runpod, this_pod
    from musabi.pod.stopping.store import Store, pod_places

    pod = this_pod(settings, os.environ)
    if not pod.can_be_stopped:
        raise MachineError(NO_WAY)
    runs, ending = _runs_here(settings, force=force)
    if runs and not force:
        named = " and ".join(run.path.name for run in runs)
        going = f"{named} {'are' if len(runs) > 1 else 'is'} still running."
        _ask(
            f"{going} What runs will be ended first, and saves what it can.",
            f"{going} End it with: musabi stop{' --all' if len(runs) > 1 else ''}. Or give --force: what runs "
            "is ended first and saves what it can.",
            may_ask=not yes,
        )
    if not runs and ending is not None and not force:
        _ask(
            f"{ending.path.name} has ended, but its process still works: it publishes or counts down. It is cut off.",
            f"{ending.path.name} has ended, but its process still works: it publishes or counts down. Wait for it, "
            f"see {ending.log_file}. Or give --force: it is cut off.",
            may_ask=not yes,
        )
    if not yes:
        told = KEPT[action].format(root=settings.workspace)
        _ask(told, f"{told} Nobody can be asked here. Give --yes to go ahead.", may_ask=True)
    with Store(pod_places(settings)).the_one_who_stops() as mine:
        if not (mine or force):
            raise RequestError(
                "Another process of this container is stopping the pod already. See: musabi pod status. "
                "Or give --force, and Runpod is asked all the same."
            )
        for run in runs:
            _end_run_first(settings, run, action, (lambda _text: None) if as_json else say)
        answer = ask_runpod(pod, action)
    if not answer.accepted:
        raise MachineError(f"The pod still runs and is still billed. {answer.message} Stop it at {CONSOLE}")
    done = {"pod": pod.id, "action": action, "accepted": True, "way": answer.way}
    say_json(done) if as_json else say("Runpod accepted it. The pod ends in a moment.")


def _runs_here(settings: Settings, *, force: bool) -> "tuple[list[RunFolder], RunFolder | None]":
    """Return the runs that go on in this container, and one that has ended and whose process still works.

    Raises:
        RequestError: the volume does not answer, and --force was not given.
    """
    from musabi.pod.aside import Aside
    from musabi.pod.stopping.run_here import ending_folder, running_folders

    space = settings.space
    try:
        return Aside().do("the runs", lambda: (running_folders(space), ending_folder(space)))
    except TimeoutError as problem:
        if force:
            return [], None
        raise RequestError(
            f"Whether a run goes on is not known: {problem}. Give --force to go ahead without."
        ) from problem


def _end_run_first(
    settings: Settings, run: "RunFolder", action: "Action", note: Callable[[str], None]
) -> None:
    """End a run so that it saves, and publish what it made where PUBLISH_TO asks for it.

    Raises:
        MachineError: the pod would be deleted, and what the run made was not published.
    """
    from musabi.pod.stopping.run_here import end_run

    try:
        end_run(run, note)
    except TimeoutError as problem:
        note(f"WARNING: {run.path.name} could not be ended: {problem}. The pod ends all the same.")
        return
    if not publish_run(settings, run, note) and action == "delete":
        raise MachineError(
            f"{run.path.name} was ended but not published, so its results exist only here. The pod was not "
            f"deleted. Publish it with: musabi publish {run.path.name}. Or delete the pod without."
        )


def _ask(question: str, refusal: str, *, may_ask: bool) -> None:
    """Ask a person whether to go on.

    Raises:
        RequestError: nobody can be asked, or it may not be asked.
        typer.Exit: the answer was no.
    """
    if not (may_ask and sys.stdin.isatty()):
        raise RequestError(refusal)
    say(question)
    if input("Go on? [y/N] ").strip().lower() not in ("y", "yes"):
        say("Nothing was done.")
        raise typer.Exit(ExitCode.DONE)


def register(app: typer.Typer) -> None:
    """Add these verbs to the command line."""
    for name, verb in (
        ("stop", stop_verb),
        ("delete", delete_verb),
        ("keep", keep_verb),
        ("status", status_verb),
        ("guard", guard_verb),
    ):
        pods.command(name)(verb)
    app.add_typer(pods)
    app.command("cost")(cost_verb)
