"""The command line: `musabi VERB`. Verbs live in musabi.commands, a module a family.

A trainer waits for what is imported here, so only the family of the verb that was typed is loaded.

Exit codes: 0 done; 2 the request is wrong; 3 the machine can't; 4 the trainer failed; 130 and 143
stopped on request. A message instead of a traceback, unless --debug stands before the verb.
"""

import gc
import json
import os
import sys
from importlib import import_module
from typing import Annotated

# Starting makes many objects that all stay: collecting between them, and looking for pydantic's plugins
# in every installed package, would cost a start some 50 ms.
gc.set_threshold(50_000)
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "1")

import typer  # noqa: E402 - after the two lines above

from musabi import __version__  # noqa: E402
from musabi.errors import ExitCode, MusabiError  # noqa: E402

FAMILIES: dict[str, tuple[str, ...]] = {
    "machine": ("bootstrap",),
    "models": ("models",),
    "init": ("init",),
    "files": ("convert",),
    "sample": ("sample", "grid"),
    "run": ("run",),
    "queue": ("queue",),
    "check": ("check",),
    "caption": ("caption",),
    "train": ("plan", "prepare", "train"),
    "look": ("status", "logs", "stop", "report", "tensorboard"),
    "transfer": ("publish", "fetch"),
    "lora": ("lora",),
    "contract": ("contract",),
    "doctor": ("doctor",),
    "pod": ("pod", "cost"),
    "boot": ("boot", "health", "url"),
    "page": ("page",),
    "serve": ("serve",),
    "worker": ("worker",),
    "submit": ("submit",),
    "jobs": ("jobs",),
}

app = typer.Typer(
    name="musabi",
    help="Train diffusion LoRAs on a rented GPU.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback()
def _main(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    del debug, version


def load_verbs(arguments: list[str]) -> None:
    """Add the family of the verb that is typed to `app`; all of them where none is, as for --help."""
    typed = next((word for word in arguments if not word.startswith("-")), "")
    wanted = [family for family, verbs in FAMILIES.items() if typed in verbs] or list(FAMILIES)
    for family in wanted:
        import_module(f"musabi.commands.{family}").register(app)


def main() -> None:
    """Run the verb on the command line and exit with its code."""
    load_verbs(sys.argv[1:])
    try:
        app()
    except MusabiError as problem:
        if "--debug" in sys.argv:
            raise
        _tell(problem)
        sys.exit(int(problem.exit_code))
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        sys.exit(int(ExitCode.INTERRUPTED))
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(int(ExitCode.DONE))
    except OSError as problem:
        if "--debug" in sys.argv:
            raise
        from musabi.job.os_errors import plain_os_error

        print(f"Error: {plain_os_error(problem)}", file=sys.stderr)
        sys.exit(int(ExitCode.MACHINE_CANNOT))


def _tell(problem: MusabiError) -> None:
    arguments = sys.argv[1 : sys.argv.index("--")] if "--" in sys.argv else sys.argv[1:]
    if "--json" in arguments:
        print(json.dumps({"error": str(problem), "exit_code": int(problem.exit_code)}, indent=2))
    print(f"Error: {problem}", file=sys.stderr)
