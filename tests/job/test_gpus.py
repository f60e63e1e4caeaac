"""Which GPUs a run gets."""

import pytest

from musabi.errors import MachineError
from musabi.job.facts import MachineFacts
from musabi.job.gpus import first, names, numbers, one_each

FOUR = MachineFacts(gpus=(10, 20, 30, 40), gpu_name="made up", cpus=8)


@pytest.mark.parametrize("wanted", [None, 4])
def test_all_gpus_are_taken_as_they_are(wanted: int | None) -> None:
    share = first(FOUR, wanted, None)
    assert share.machine == FOUR and share.environment == {}


def test_fewer_are_the_first_ones_and_the_steps_see_no_other() -> None:
    share = first(FOUR, 2, None)
    assert share.machine.gpus == (10, 20) and share.machine.cpus == 8
    assert share.environment == {"CUDA_VISIBLE_DEVICES": "0,1", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}


def test_the_first_ones_are_those_that_the_environment_lists() -> None:
    two = MachineFacts(gpus=(30, 10))
    assert first(two, 1, "2, 0").environment["CUDA_VISIBLE_DEVICES"] == "2"
    assert [share.environment["CUDA_VISIBLE_DEVICES"] for share in one_each(two, "2,0")] == ["2", "0"]
    assert [share.machine.gpus for share in one_each(two, "2,0")] == [(30,), (10,)]


def test_gpus_may_be_named_by_identifiers() -> None:
    assert names(2, "GPU-aa,GPU-bb") == ("GPU-aa", "GPU-bb")
    assert numbers(2, "GPU-aa,GPU-bb") == ()
    assert numbers(2, "3,1") == (3, 1) and numbers(2, None) == (0, 1) and numbers(0, None) == ()


@pytest.mark.parametrize(
    ("there", "wanted", "said"), [(2, 3, "are only 2 GPUs"), (1, 2, "is only 1 GPU"), (0, 1, "is no GPU")]
)
def test_more_than_there_are_is_refused_with_their_number(there: int, wanted: int, said: str) -> None:
    with pytest.raises(MachineError, match=said):
        first(MachineFacts(gpus=(1,) * there), wanted, None)


def test_one_run_a_gpu_needs_a_gpu() -> None:
    with pytest.raises(MachineError, match="no GPU here"):
        one_each(MachineFacts(), None)
