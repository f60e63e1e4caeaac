"""The surface of the trainer's version that this package was made for, as committed data."""

import json
from functools import cache
from pathlib import Path

from musabi.contract.as_json import from_values
from musabi.contract.surface import Surface

COMMITTED = Path(__file__).with_name("musubi-v0.3.4.json")


@cache
def committed() -> Surface:
    """Return the committed surface. Written by: musabi contract --write src/musabi/contract/NAME.json"""
    return from_values(json.loads(COMMITTED.read_text(encoding="utf-8")))
