"""Processes that bear a mark are ended, wherever they went and whatever they ignore."""

import os
import subprocess
import sys
import time
from pathlib import Path

from musabi.job.marked import end_marked, marked

MARK = "MUSABI_TEST_MARK"
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('on', flush=True); time.sleep(60)"
IN_A_SESSION = (
    "import subprocess, sys;"
    f"subprocess.Popen([sys.executable, '-c', {STUBBORN!r}], start_new_session=True).wait()"
)


def test_a_stubborn_process_in_a_session_of_its_own_is_ended_with_the_one_that_started_it(
    tmp_path: Path,
) -> None:
    environment = os.environ | {MARK: str(tmp_path)}
    argv = [sys.executable, "-c", IN_A_SESSION]
    with subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "on\n"
        assert len(list(marked(MARK, str(tmp_path)))) == 2
        assert not list(marked(MARK, str(tmp_path / "another")))
        begun = time.monotonic()
        end_marked(MARK, str(tmp_path), 0.3)
        assert 0.2 < time.monotonic() - begun < 5
        assert not list(marked(MARK, str(tmp_path)))
