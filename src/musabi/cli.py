"""The command line: `musabi VERB`. Verbs live in musabi.commands, a module a family.

Exit codes: 0 done; 2 the request is wrong; 3 the machine can't; 4 the trainer failed; 130 and 143
stopped on request. A message instead of a traceback, unless --debug stands before the verb.
"""

import sys
from typing import Annotated

import typer

from musabi import __version__
from musabi.commands import files, look, machine, models, train
from musabi.commands.show import say, say_json
from musabi.errors import ExitCode, MusabiError

app = typer.Typer(
    name="musabi",
    help="Train diffusion LoRAs on a rented GPU.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        say(__version__)
        raise typer.Exit


@app.callback()
def _main(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    del debug, version


for family in (machine, models, files, train, look):
    family.register(app)


def main() -> None:
    """Run the verb on the command line and exit with its code."""
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
        from musabi.job.runner import plain_os_error

        print(f"Error: {plain_os_error(problem)}", file=sys.stderr)
        sys.exit(int(ExitCode.MACHINE_CANNOT))


def _tell(problem: MusabiError) -> None:
    arguments = sys.argv[1 : sys.argv.index("--")] if "--" in sys.argv else sys.argv[1:]
    if "--json" in arguments:
        say_json({"error": str(problem), "exit_code": int(problem.exit_code)})
    print(f"Error: {problem}", file=sys.stderr)
