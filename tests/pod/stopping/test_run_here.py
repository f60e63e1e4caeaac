"""Which run goes on in this container: on a shared volume, those of other pods are none of our business."""

import os

import pytest

from musabi.identity import identity
from musabi.job.record import RunState
from musabi.pod.stopping.run_here import ending_folder, running_folder, running_run

from .conftest import PodFolder

OTHER = "other-pod 0-boot pid:[1]"


def test_a_run_of_another_container_is_not_ours_and_hides_none_of_ours(pod: PodFolder) -> None:
    space = pod.settings.space
    theirs = pod.add_run(container=OTHER)
    theirs.beat()
    assert running_folder(space) is None
    ours = pod.add_run()
    pod.add_run(container=OTHER).beat()
    assert running_run(space) == ours.path.name


@pytest.mark.parametrize(("pid", "found"), [(None, True), (2**22 + 1, False)])
def test_a_record_without_a_container_counts_where_its_process_lives_here(
    pod: PodFolder, pid: int | None, found: bool
) -> None:
    pod.add_run(pid=pid, container="")
    assert (running_folder(pod.settings.space) is not None) == found


def test_a_run_that_was_started_without_the_pods_id_is_ours(pod: PodFolder) -> None:
    run = pod.add_run(container=f"some-host {identity().partition(' ')[2]}")
    assert running_run(pod.settings.space) == run.path.name


def test_the_run_of_one_process_can_be_left_out(pod: PodFolder) -> None:
    pod.add_run()
    assert running_run(pod.settings.space, besides=os.getpid()) is None


def test_a_record_that_can_not_be_read_hides_no_other(pod: PodFolder) -> None:
    run = pod.add_run()
    pod.add_run().record_file.write_text('{"state": "no such state"}')
    assert running_run(pod.settings.space) == run.path.name


def test_a_run_that_has_ended_and_still_works_is_found(pod: PodFolder) -> None:
    space = pod.settings.space
    pod.add_run(RunState.DONE, container=OTHER)
    pod.add_run(RunState.DONE, pid=2**22 + 1)
    assert ending_folder(space) is None
    publishing = pod.add_run(RunState.DONE)
    found = ending_folder(space)
    assert found is not None and found.path == publishing.path and running_folder(space) is None
