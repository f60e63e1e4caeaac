"""The verb that looks at the machine: doctor."""

import os
from dataclasses import asdict
from typing import Annotated

import typer

from musabi.commands.options import EngineOption, Json, Set, settings_from
from musabi.commands.show import say, say_json
from musabi.errors import ExitCode
from musabi.settings import Settings


def doctor_verb(
    engine_name: EngineOption = None,
    quick: Annotated[bool, typer.Option("--quick", help="Run no kernels, so load no torch.")] = False,
    boot: Annotated[
        bool, typer.Option("--boot", help="Only the boot report, in seconds; it never fails.")
    ] = False,
    pairs: Set = None,
    as_json: Json = False,
) -> None:
    """Look at this machine: GPU, kernels, cores, disk, network, ports, output. Each finding names its mend.

    Exit code 3 where something stands in the way of a training. Example: musabi doctor --quick
    """
    settings = settings_from(pairs, engine=engine_name)
    if boot:
        _boot_report(settings, as_json)
        return
    from musabi.pod.doctor.doctor import KERNELS, LOOKS, blocks, diagnose, lines
    from musabi.pod.doctor.scene import Scene

    looks = tuple(look for look in LOOKS if not quick or look is not KERNELS)
    found = diagnose(Scene(settings, dict(os.environ)), looks)
    if as_json:
        say_json({"ok": not blocks(found), "findings": [asdict(each) for each in found]})
    else:
        say("\n".join(lines(found)))
    if blocks(found):
        raise typer.Exit(ExitCode.MACHINE_CANNOT)


def _boot_report(settings: Settings, as_json: bool) -> None:
    from musabi.pod.report import boot_report, lines, write_report

    rows = boot_report(settings, os.environ)
    say_json({"rows": [asdict(row) for row in rows]}) if as_json else say("\n".join(lines(rows)))
    write_report(settings, os.environ, rows)


def register(app: typer.Typer) -> None:
    """Add this verb to the command line."""
    app.command("doctor")(doctor_verb)
