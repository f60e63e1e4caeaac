"""From an empty folder to a workspace that can train: `bootstrap()` and its contract.

Stages, what each waits for and depends on, and what proves that it is still done:

| stage | waits for | depends on | proof |
|---|---|---|---|
| layout | | | the folders are there |
| scripts | layout | the wrappers' places | the links lead somewhere |
| templates | layout | | the files are there (copied once, never overwritten) |
| accelerate | layout | the GPUs | the file is there |
| clone | layout | MUSUBI_REPO_URL, MUSUBI_REF | HEAD; a moved tag is said, a branch is followed |
| environment | clone | commit, Python, index, torch pins, paths | Python starts, torch's version |
| link | environment | the paths | the checkout's .venv leads to the environment |
| packages | environment | that very environment, the wheel chosen | the packages lie in it |
| weights | layout | the sets wanted, their places | every file has the size it was checked with |
| diffusion-pipe | layout | repository, commit, submodules | HEAD of each |
| diffusion-pipe-environment | diffusion-pipe | commit, torch pins, packages' day | Python starts |
| diffusion-pipe-link | diffusion-pipe-environment | the paths | as for link |
| verify | packages, link, clone, accelerate | all of their outcomes | scripts, musabi-trainer.json |

A stage is skipped where the hash of what it depends on and its proof both hold. The profile `musubi` has
all of them but those of diffusion-pipe, `diffusers` only the first three, `diffusion_pipe` layout and its own
three, `weights` only layout and weights; weights come with `musubi`
unless SKIP_MODEL_DOWNLOAD=1, and with `diffusers` only when asked for.

Where state lies: WORKSPACE/.musabi/bootstrap.json for what is on the volume (stages done, files checked, and
the progress that `bootstrap_status` reads), MUSABI_STATE_DIR/bootstrap.json for what is on the container's
disk, WORKSPACE/.musabi/bootstrap.log for the output of every child, without secrets. A lock on the volume
(`musabi.pod.bootstrap.lock`) makes two containers take turns. WORKSPACE/.musubi_bootstrap_done is removed before the
first stage that has to run and written when all are done; nothing here reads it.

Failures: a stage that fails does not stop those that don't need it. Each is named with its mend, and the exit
code is 3 (the machine can't), or 2 where only the request was wrong; 130 where it was called off.
"""

import contextlib
import json as json_module
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from musabi.children import Cancelled, scrub, secrets
from musabi.errors import ExitCode, MachineError, MusabiError
from musabi.pod.bootstrap.graph import Graph, Result
from musabi.pod.bootstrap.lock import VolumeLock
from musabi.pod.bootstrap.options import BootstrapOptions
from musabi.pod.bootstrap.progress import Display, display
from musabi.pod.bootstrap.stage import Context
from musabi.pod.bootstrap.stages import stages_of
from musabi.pod.bootstrap.state import FILE as STATE_FILE
from musabi.pod.bootstrap.state import machine_state, volume_state
from musabi.whole import write_text

LOG_BYTES = 5_000_000
MARKED = frozenset({"musubi", "diffusers"})
"""Profiles that set a whole workspace up, so that the marker speaks of them."""


def bootstrap(
    options: BootstrapOptions, *, profile: str = "musubi", json: bool = False, weights: bool | None = None
) -> int:
    """Set the workspace up and return the exit code; see the module's text.

    `profile` is the engine's name. `weights` overrules whether weights are fetched (None: as above).

    Raises:
        MachineError: the workspace can't be written at all.
    """
    wanted = weights if weights is not None else profile == "musubi" and not options.skip_model_download
    stages = stages_of(profile, wanted)
    names = [stage.name for stage in stages]
    _make_writable(options)
    cancel = threading.Event()
    show = display(json, names)
    turn = _Turn(show)
    try:
        with _log(options) as log, VolumeLock(options.space.state, say=turn.wait, cancel=cancel) as lock:
            turn.come()
            sweep(options.space.state)
            volume = volume_state(options.space)
            volume.start_run(profile, names)
            context = Context(options, volume, machine_state(options.state_dir), cancel=cancel, log=log.line)
            graph = Graph(
                stages,
                context,
                show,
                require_held=lock.require_held,
                before_work=lambda: _remove_marker(options, profile),
            )
            try:
                result = graph.run()
            except BaseException:
                volume.end_run("interrupted")
                raise
            if not result.failed and not result.blocked:
                _write_marker(options, profile, result)
            volume.end_run("failed" if result.failed else "done")
    except (KeyboardInterrupt, Cancelled):
        show.close()
        _end("Interrupted. What is done stays done; run musabi bootstrap again to go on.", json)
        return ExitCode.INTERRUPTED
    except MusabiError:
        show.close()
        raise
    show.close()
    _report(result, json)
    return result.exit_code


def sweep(folder: Path) -> None:
    """Remove what a killed bootstrap left half-written of its own state; nobody else writes under the lock."""
    for part in folder.glob(f".{STATE_FILE}.*.part"):
        part.unlink(missing_ok=True)


def _make_writable(options: BootstrapOptions) -> None:
    for folder, variable in ((options.space.state, "WORKSPACE"), (options.state_dir, "MUSABI_STATE_DIR")):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            proof = folder / f".writable-{uuid.uuid4().hex}"  # another bootstrap may prove the same now
            write_text(proof, "")
            proof.unlink()
        except OSError as error:
            raise MachineError(
                f"{folder} can't be written ({error.strerror}). "
                f"Check the volume, or set {variable} to a folder that can be."
            ) from None


def _remove_marker(options: BootstrapOptions, profile: str) -> None:
    if profile in MARKED:
        options.space.bootstrap_marker.unlink(missing_ok=True)


def _write_marker(options: BootstrapOptions, profile: str, result: Result) -> None:
    marker = options.space.bootstrap_marker
    if profile not in MARKED or (marker.exists() and not result.ran):
        return
    when = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    write_text(marker, f"bootstrapped {when}, {profile}, musubi-tuner {options.musubi_ref}\n")


def _report(result: Result, json: bool) -> None:
    for name, error in result.failed.items():
        _end(f"{name}: {error}", json)
    if result.blocked:
        _end(f"Not started, because of that: {', '.join(result.blocked)}.", json)


def _end(text: str, json: bool) -> None:
    """Say a last word: to a person on stderr, to a program as a line of its own."""
    if json:
        about = {"t": round(time.time(), 3), "phase": "bootstrap", "message": text}
        print(json_module.dumps(about, ensure_ascii=False), flush=True)
    else:
        print(text, file=sys.stderr, flush=True)


class _Turn:
    """Shows that this bootstrap waits for another one, and that its turn has come."""

    def __init__(self, show: Display) -> None:
        self._show = show
        self._waited = False

    def wait(self, text: str) -> None:
        self._waited = True
        self._show.show("turn", {"state": "waiting", "message": text})

    def come(self) -> None:
        if self._waited:
            self._show.show("turn", {"state": "done"})


class _Log:
    """The bootstrap's log: lines of all children, with the time, without secrets."""

    def __init__(self, path: Path, hidden: tuple[str, ...]) -> None:
        self._hidden = hidden
        self._lock = threading.Lock()
        if path.exists() and path.stat().st_size > LOG_BYTES:
            path.replace(path.with_suffix(".old.log"))
        self._file = path.open("a", encoding="utf-8", errors="replace")

    def line(self, text: str) -> None:
        stamped = f"{time.strftime('%H:%M:%S')} {scrub(text, self._hidden)}\n"
        with self._lock, contextlib.suppress(OSError, ValueError):
            self._file.write(stamped)
            self._file.flush()

    def close(self) -> None:
        with self._lock, contextlib.suppress(OSError):
            self._file.close()


@contextlib.contextmanager
def _log(options: BootstrapOptions) -> Iterator[_Log]:
    log = _Log(options.space.state / "bootstrap.log", secrets(options.environment))
    try:
        yield log
    finally:
        log.close()
