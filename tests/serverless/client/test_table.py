"""The table of jobs, at any width."""

import pytest

from musabi.serverless.client.remembered import KnownJob
from musabi.serverless.client.table import lines, summary


@pytest.mark.parametrize("width", [20, 40, 60, 80, 120, 250])
def test_the_table_fits_into_any_terminal(width: int) -> None:
    known = [
        KnownJob("0123456789abcdef-u1", "abc", "a" * 60, state="FAILED", error="x" * 300),
        KnownJob(
            "b" * 36, "abc", "robot", state="IN_PROGRESS", seconds=4000.0, output={"message": "Training"}
        ),
        KnownJob("c" * 36, "abc", "é", state="SOMETHING_NEW", output={"output": "no object"}),
    ]
    table = lines(known, width)
    assert len(table) == 4 and all(len(line) <= width for text in table for line in text.split("\n"))
    assert (table[1].startswith("01234567  aaaa") and "running" in table[2]) or width < 40
    assert lines([], width)[0].startswith("ID")
    assert summary(known) == "1 running, 1 failed" and summary([]) == "no jobs"


@pytest.mark.parametrize("width", [40, 60, 72, 80, 120])
def test_how_far_a_job_is_can_be_read_on_a_small_screen(width: int) -> None:
    said = "Downloading the model"
    known = [
        KnownJob("a" * 36, "abc", "robot-seed42-and-more", state="IN_PROGRESS", output={"message": said}),
        KnownJob("b" * 36, "abc", "robot-seed43-and-more", state="CANCELLED", seconds=4000.0),
    ]
    heading, first, second = lines(known, width)
    assert said[:15] in first and heading.split()[:3] == ["ID", "NAME", "STATE"]
    assert ("\n" in first) is (width == 40) and "\n" not in second  # nothing is said of the second


def test_ids_are_written_as_far_as_they_differ() -> None:
    twins = [KnownJob(f"0123456789-{end}-u1", "abc", "x") for end in "ab"]
    assert [line.split()[0] for line in lines(twins, 80)[1:]] == ["0123456789-a", "0123456789-b"]
    assert lines([*twins[:1], *twins[:1]], 80)[1].split()[0] == "01234567"
