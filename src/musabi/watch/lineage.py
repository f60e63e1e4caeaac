"""A run together with the runs that it goes on from."""

from dataclasses import dataclass

from musabi.errors import RequestError
from musabi.job.record import ProducedFile, RunFolder, RunRecord


@dataclass(frozen=True)
class Lineage:
    """`records` holds the run that was asked for as its last, before it those that it resumed.

    `files` are theirs, each path once, in the order of making.
    """

    records: tuple[tuple[RunFolder, RunRecord], ...]
    files: tuple[ProducedFile, ...]

    @property
    def record(self) -> RunRecord:
        return self.records[-1][1]


def read_lineage(run: RunFolder) -> Lineage:
    """Read a run's record and those it belongs with, all from the folder that the run lies in.

    Raises:
        RequestError: the run has no record.
    """
    record = run.load()
    records = [(run, record)]
    while (earlier := records[0][1].resumed_from) and all(earlier != known.id for _, known in records):
        folder = RunFolder(run.path.parent / earlier)
        try:
            records.insert(0, (folder, folder.load()))
        except RequestError:
            break
    known = {file.path: file for _, each in records for file in each.files}
    return Lineage(tuple(records), tuple(sorted(known.values(), key=lambda file: file.made)))
