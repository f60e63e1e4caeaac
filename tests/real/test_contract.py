"""The committed surface beside the real musubi-tuner: its source, and the parsers that its scripts build."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from musabi.contract import Surface, committed, differences, installed_surface, read_surface
from musabi.contract.installed import PACKAGE
from small.contract import comparable, described

REAL = Path(__file__).parents[1] / "small" / "real_parsers.py"
MACHINES_OWN = {("merge_lora.py", "--device")}  # its default says whether there is a GPU
LEAST_SCRIPTS = 58


@pytest.fixture(scope="session")
def read() -> Surface:
    return read_surface(Path(os.environ["MUSUBI_SRC"]) / PACKAGE)


def test_every_script_of_the_checkout_is_read_as_it_was_committed(read: Surface) -> None:
    assert differences(committed(), read) == ()
    assert len(read.scripts) >= LEAST_SCRIPTS
    assert read.scripts == committed().scripts
    assert read.dataset == committed().dataset
    assert read.sources == committed().sources
    assert read.fingerprint == committed().fingerprint
    assert read.version == committed().version


def test_the_checkout_is_known_by_its_contents_without_being_parsed() -> None:
    assert installed_surface(Path(os.environ["MUSUBI_SRC"])).scripts is committed().scripts


def test_the_real_parsers_say_the_same(read: Surface, pod: Any) -> None:
    """Every script is run by the trainer's own Python up to where it parses its arguments."""
    package = pod.space.checkout / PACKAGE
    out = pod.run(str(pod.python), str(REAL), str(package), *read.scripts)
    real = json.loads(next(line for line in out.splitlines() if line.startswith('{"')))
    assert real.keys() == read.scripts.keys()
    for file, arguments in real.items():
        mine, theirs = described(read.scripts[file]), [comparable(argument) for argument in arguments]
        for argument in (*mine, *theirs):
            if (file, argument["flags"][0]) in MACHINES_OWN:
                argument["default"] = None
        assert mine == theirs, file
