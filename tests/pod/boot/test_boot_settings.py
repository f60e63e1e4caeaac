"""What the boot reads without pydantic is what the settings say."""

from dataclasses import fields
from pathlib import Path

import pytest

from musabi.errors import RequestError
from musabi.pod.boot.settings import BootSettings, read
from musabi.pod.boot.settings_check import wrong_variables
from musabi.settings import load

NAMES = [row.name for row in fields(BootSettings)]
RIGHT = {
    "JUPYTER_PORT": " 9999 ",
    "JUPYTER_DEFAULT_URL": "/tree",
    "AUTO_START_TENSORBOARD": "Yes",
    "TENSORBOARD_PORT": "1",
    "TENSORBOARD_HOST": "0.0.0.0",
    "TENSORBOARD_LOGDIR": "/elsewhere",
    "RUN_BOOTSTRAP_ON_START": "false",
    "BOOTSTRAP_WAIT": "1",
    "WORKSPACE": "/volume",
    "MUSABI_STATE_DIR": "~/state",
    "RUNPOD_POD_ID": "abc",
    "PUBLIC_KEY": "ssh-ed25519 AAAA",
    "SSH_PUBLIC_KEY": "",
    "MAX_HOURS": "1.5",
    "IDLE_MINUTES": "30",
    "ON_FINISH": "stop",
    "ON_ERROR": "delete",
}
WRONG = {
    "JUPYTER_PORT": ("x", "0", "65536", "", "-1", "8888.5"),
    "AUTO_START_TENSORBOARD": ("maybe", ""),
    "BOOTSTRAP_WAIT": ("2",),
    "MAX_HOURS": ("0", "-1", "inf", "soon"),
    "WORKSPACE": ("", " ", "~nosuch/x"),
    "MUSABI_STATE_DIR": ("~nosuch/x", "~nosuch"),
    "TENSORBOARD_LOGDIR": ("~nosuch/x",),
    "ON_FINISH": ("", "Stop", "halt"),
    "ON_ERROR": ("1",),
}


def test_the_defaults_are_those_of_the_settings() -> None:
    ours, theirs = read({})[0], load({})
    assert {n: getattr(ours, n) for n in NAMES} == {n: getattr(theirs, n) for n in NAMES}


def test_values_are_read_as_the_settings_read_them() -> None:
    ours, wrong = read(RIGHT)
    theirs = load(RIGHT)
    stripped = {n: getattr(theirs, n) for n in NAMES}
    assert wrong == {}
    assert {n: getattr(ours, n) for n in NAMES} == stripped


def test_the_log_folder_follows_the_workspace() -> None:
    assert read({"WORKSPACE": "/volume"})[0].tensorboard_logdir == Path("/volume/logs")


@pytest.mark.parametrize(("name", "value"), [(n, v) for n, values in WRONG.items() for v in values])
def test_a_wrong_value_is_named_and_the_default_used(name: str, value: str) -> None:
    with pytest.raises(RequestError):
        load({name: value})
    settings, wrong = read({name: value})
    assert wrong[name].startswith(f'{name} is "{value}", but it ')
    assert getattr(settings, name.lower()) == getattr(read({})[0], name.lower())


def test_the_check_names_every_wrong_variable() -> None:
    environ = {"NETWORK_DIM": "many", "JUPYTER_PORT": "x", "SEED": "-1", "MUSUBI_REF": "v0.3.4"}
    found = wrong_variables(environ)
    assert set(found) == {"NETWORK_DIM", "JUPYTER_PORT", "SEED"}
    assert all(text.startswith(f'{name} is "') for name, text in found.items())


@pytest.mark.parametrize("name", ["WORKSPACE", "MUSABI_STATE_DIR"])
def test_a_user_that_nobody_is_is_named_by_the_boot_and_by_the_check(name: str) -> None:
    environ = {name: "~nosuch/x"}
    assert "begins with a user that this machine has not" in read(environ)[1][name]
    assert set(wrong_variables(environ)) == {name}


@pytest.mark.parametrize(
    ("environ", "needed"),
    [
        ({}, False),
        ({"ON_FINISH": "none", "ON_ERROR": "none"}, False),
        ({"MAX_HOURS": "1"}, True),
        ({"IDLE_MINUTES": "30"}, True),
        ({"ON_FINISH": "stop"}, True),
        ({"ON_ERROR": "delete"}, True),
        ({"ON_ERROR": "explode"}, False),
    ],
)
def test_whatever_stops_the_pod_needs_the_guard(environ: dict[str, str], needed: bool) -> None:
    assert read(environ)[0].needs_guard is needed
