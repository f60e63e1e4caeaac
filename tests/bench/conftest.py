"""The programs under bench/ as modules: they are run by path, and are no package."""

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

BENCH = Path(__file__).parents[2] / "bench"


def module(name: str) -> ModuleType:
    spec = spec_from_file_location(name, BENCH / f"{name}.py")
    assert spec is not None and spec.loader is not None
    made = module_from_spec(spec)
    sys.modules[name] = made
    spec.loader.exec_module(made)
    return made


@pytest.fixture(scope="session")
def random_z_image() -> ModuleType:
    return module("random_z_image")


@pytest.fixture(scope="session")
def gpu(random_z_image: ModuleType) -> ModuleType:
    return module("gpu")
