"""How a child process ends: in one plain sentence, with the exit code of its kind."""

import errno
import json
import sys
from collections.abc import Callable

import pytest

from musabi.engines.diffusers import process
from musabi.errors import MachineError, RequestError


def ended(capsys: pytest.CaptureFixture[str], problem: BaseException) -> tuple[int, str, str]:
    def main(argv: object) -> int:
        raise problem

    with pytest.raises(SystemExit) as end:
        process.run("train", main)
    said = capsys.readouterr()
    event = json.loads(said.out.splitlines()[-1])
    assert (event["kind"], event["phase"]) == ("error", "train")
    return int(end.value.code or 0), event["message"], said.err


@pytest.mark.parametrize(
    ("problem", "code", "message"),
    [
        (RequestError("Wrong."), 2, "Wrong."),
        (OSError(errno.ENOSPC, "No space left on device"), 3, "The disk is full"),
        (RuntimeError("I/O error: No space left on device (os error 28)"), 3, "The disk is full"),
        (OSError(errno.EROFS, "Read-only file system", "/out/a"), 3, "/out/a can't be written: Read-only"),
        (MemoryError(), 3, "The memory ran out"),
    ],
)
def test_known_problems_are_one_sentence_and_no_traceback(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    problem: Exception,
    code: int,
    message: str,
) -> None:
    monkeypatch.setattr(sys, "argv", ["train"])
    found, said, errors = ended(capsys, problem)
    assert (found, errors) == (code, "")
    assert said.startswith(message)


def test_an_unknown_problem_keeps_its_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["train"])
    found, said, errors = ended(capsys, KeyError("layers"))
    assert (found, said) == (4, "KeyError: 'layers'")
    assert "Traceback" in errors


def test_the_cause_of_a_problem_is_found_behind_others() -> None:
    try:
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError as error:
            raise RuntimeError("writing failed") from error
    except RuntimeError as error:
        assert isinstance(process.plain(error), MachineError)


def test_the_exit_code_of_a_main_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["train", "--flag"])
    seen: list[list[str]] = []
    main: Callable[..., int] = lambda argv: seen.append(list(argv)) or 143  # type: ignore[func-returns-value]  # noqa: E731
    with pytest.raises(SystemExit) as end:
        process.run("train", main)
    assert (end.value.code, seen) == (143, [["--flag"]])
