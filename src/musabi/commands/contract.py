"""The verb that compares what is asked of the trainer with what its installed version accepts: contract."""

import shlex
import tomllib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from musabi.commands.options import Json, Set, settings_from
from musabi.commands.show import say, say_json
from musabi.contract import (
    Fault,
    Surface,
    committed,
    dataset_faults,
    differences,
    faults,
    installed_surface,
    is_committed,
)
from musabi.contract.installed import CACHE_NAME, PACKAGE
from musabi.errors import ExitCode, RequestError
from musabi.settings import Settings

Checkout = Annotated[
    Path | None,
    typer.Option("--checkout", help="Folder of musubi-tuner; the workspace's where not given."),
]
Diff = Annotated[
    bool, typer.Option("--diff", help="List what is otherwise than in the version musabi was made for.")
]
Write = Annotated[Path | None, typer.Option("--write", help="Write what was read to this JSON file.")]
Script = Annotated[
    str | None,
    typer.Option("--command", metavar="SCRIPT", help="Check the arguments behind -- for this script."),
]
Toml = Annotated[Path | None, typer.Option("--dataset", help="Check the keys of this dataset TOML.")]
Arguments = Annotated[list[str] | None, typer.Argument(help="Arguments for --command, behind --.")]


def contract_verb(
    arguments: Arguments = None,
    checkout: Checkout = None,
    diff: Diff = False,
    write: Write = None,
    script: Script = None,
    dataset: Toml = None,
    pairs: Set = None,
    as_json: Json = False,
) -> None:
    """Read what the installed musubi-tuner accepts, and compare it with what musabi was made for.

    Nothing of musubi-tuner is run. Exit code 2 where a checked command or dataset would be refused.

    Example: musabi contract --command wan_train_network.py -- --task t2v-14B --timestep_boundary 900
    """
    if arguments and script is None:
        raise RequestError("Arguments are checked for a script. Name it with --command SCRIPT.")
    if script is not None:
        script, arguments = _split(script, arguments or [])
    settings = settings_from(pairs)
    checking = script is not None or dataset is not None
    surface = _surface(settings, checkout, fresh=write is not None, checking=checking)
    if write is not None:
        _write(surface, write)
    if checking:
        found = faults(surface, script, arguments or ()) if script is not None else ()
        found += dataset_faults(surface, _tables(dataset)) if dataset is not None else ()
        _tell_faults(surface, found, as_json)
    elif write is None:
        _tell_surface(surface, diff, as_json)
    else:
        say_json({"written": str(write)}) if as_json else say(f"Written to {write}: {_counts(surface)}.")


def _split(command: str, behind: list[str]) -> tuple[str, list[str]]:
    """Return the script and its arguments, where the whole line may have been given as one."""
    try:
        words = shlex.split(command)
    except ValueError:
        raise RequestError(f"--command {command} has a quotation mark that is not closed.") from None
    if not words:
        raise RequestError("--command names no script. Write one, such as wan_train_network.py.")
    return words[0], [*words[1:], *behind]


def _surface(settings: Settings, checkout: Path | None, *, fresh: bool, checking: bool) -> Surface:
    """Return the surface of the checkout; the committed one to check against where none is installed."""
    folder = checkout or settings.space.checkout
    if fresh:
        from musabi.contract.read import read_surface

        return read_surface(folder / PACKAGE)
    if checking and checkout is None and not (folder / PACKAGE).is_dir():
        return committed()
    return installed_surface(folder, None if checkout else settings.space.state / CACHE_NAME)


def _write(surface: Surface, path: Path) -> None:
    from musabi.contract.as_json import to_json
    from musabi.whole import write_text

    write_text(path, to_json(surface))


def _tables(path: Path) -> Mapping[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as wrong:
        raise RequestError(f"The dataset config {path} can't be read: {wrong.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as wrong:
        raise RequestError(f"The dataset config {path} is not TOML: {wrong}.") from None


def _tell_faults(surface: Surface, found: tuple[Fault, ...], as_json: bool) -> None:
    refused = any(fault.refused for fault in found)
    if as_json:
        values = [asdict(fault) | {"refused": fault.refused} for fault in found]
        say_json({"surface": surface.name, "ok": not refused, "faults": values})
    else:
        for fault in found:
            say(fault.message if fault.refused else f"Note: {fault.message}")
        if not refused:
            say(f"{surface.name} takes it.")
    if refused:
        raise typer.Exit(ExitCode.WRONG_REQUEST)


def _tell_surface(surface: Surface, diff: bool, as_json: bool) -> None:
    same, usual = is_committed(surface), committed()
    changes = () if same else differences(usual, surface)
    if as_json:
        values = {"surface": surface.name, "commit": surface.commit, "fingerprint": surface.fingerprint}
        say_json(values | {"made_for": usual.name, "same": not changes, "differences": changes})
        return
    say(f"{surface.name}: {_counts(surface)}.")
    if diff:
        say("\n".join(changes) or f"Nothing is otherwise than in {usual.name}.")
    elif not changes:
        edited = "" if same else " Its source differs, but not in what it accepts."
        say(f"This is what musabi was made for.{edited}")
    else:
        say(f"It differs in {len(changes)} points from {usual.name}, which musabi was made for.")
        say("List them with: musabi contract --diff")


def _counts(surface: Surface) -> str:
    options = sum(len(list(script.each())) for script in surface.scripts.values())
    return f"{len(surface.scripts)} scripts, {options} arguments, {len(surface.dataset)} dataset keys"


def register(app: typer.Typer) -> None:
    """Add this verb to the command line."""
    app.command("contract")(contract_verb)
