"""Folders of jobs that ended long ago leave a volume; those at work and those just ended stay."""

import time
from pathlib import Path

from musabi.serverless.job_folder import JobFolder
from musabi.serverless.places import Places
from musabi.serverless.worker.old_jobs import remove_old_jobs

HOUR = 3600.0


def test_what_was_told_of_long_ago_leaves(tmp_path: Path) -> None:
    places = Places(tmp_path)
    JobFolder(places.job("old")).make("old", {})
    assert remove_old_jobs(places, HOUR) == []
    assert remove_old_jobs(places, HOUR, time.time() + 2 * HOUR) == ["old"]
    assert list(places.jobs.iterdir()) == []


def test_a_job_that_a_process_holds_stays(tmp_path: Path) -> None:
    places = Places(tmp_path)
    folder = JobFolder(places.job("at-work"))
    folder.make("at-work", {})
    with folder.alone() as mine:
        assert mine and remove_old_jobs(places, HOUR, time.time() + 2 * HOUR) == []
    assert folder.path.is_dir()


def test_what_was_half_removed_is_removed(tmp_path: Path) -> None:
    places = Places(tmp_path)
    (places.jobs / ".removing-gone" / "dataset").mkdir(parents=True)
    remove_old_jobs(places, HOUR)
    assert list(places.jobs.iterdir()) == []
