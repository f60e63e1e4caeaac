"""What a verb's --engine says that it takes is what it takes."""

from collections.abc import Callable
from typing import get_args

import pytest
import typer

from musabi.commands import doctor, machine
from musabi.pod.bootstrap.stages import PROFILES
from musabi.settings import Settings

TRAINERS = set(get_args(Settings.model_fields["engine"].annotation))


@pytest.mark.parametrize(
    ("register", "verb", "taken"),
    [
        (machine.register, "bootstrap", (set(PROFILES) - {"weights"}) | TRAINERS),
        (doctor.register, "doctor", TRAINERS),
    ],
)
def test_the_help_names_every_engine_that_the_verb_takes_and_no_other(
    register: Callable[[typer.Typer], None], verb: str, taken: set[str]
) -> None:
    app = typer.Typer()
    app.callback()(lambda: None)
    register(app)
    command = typer.main.get_group(app).commands[verb]
    text = next(str(option.help) for option in command.params if "--engine" in option.opts)  # type: ignore[attr-defined]
    words = set(text.replace(",", " ").replace(";", " ").replace(".", " ").split())
    assert words & (set(PROFILES) | TRAINERS) == taken
