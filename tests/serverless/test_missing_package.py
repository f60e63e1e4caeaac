"""A verb that lacks the endpoint's packages says how to get them, in the same words for each."""

import sys

import pytest

from musabi.errors import MachineError
from musabi.serverless.missing_package import missing_package
from musabi.serverless.worker.runpod_worker import sdk


def test_a_worker_without_the_sdk_names_the_checkouts_way_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "runpod", None)
    monkeypatch.setenv("RUNPOD_LOG_LEVEL", "INFO")
    with pytest.raises(MachineError) as problem:
        sdk()
    assert str(problem.value) == str(missing_package("worker", "runpod"))
    assert "scripts/setup.sh serverless" in str(problem.value)
