"""`python -m musabi.pod.boot`: the first process of the container, from its start to its end.

What it does, in this order. Nothing in it can end the boot; what fails is said in one line and left out.

0. The guard (MAX_HOURS, IDLE_MINUTES, ON_FINISH, ON_ERROR), which is to end also what hangs; the check of step 6
   comes before it then.
1. /pre_start.sh, if there is one, to its end.
2. The environment for login shells (`musabi.pod.boot.login`).
3. The SSH server, if PUBLIC_KEY or SSH_PUBLIC_KEY is set (`musabi.pod.boot.ssh`).
4. The workspace's folders, wrappers and templates (`musabi.pod.furnish`).
5. JupyterLab (`musabi.pod.boot.jupyter`). It is started before anything slow is even imported.
6. The check of all variables; those that can't be right are named, and dropped for what the boot starts.
7. The bootstrap (not with RUN_BOOTSTRAP_ON_START=0), TensorBoard (AUTO_START_TENSORBOARD=1), /post_start.sh; all
   side by side.
8. It supervises (`musabi.pod.boot.supervisor`), and writes boot.json whenever something changes. As soon as
   JupyterLab answers, its address is said and the boot report follows.

With BOOTSTRAP_WAIT=1 the bootstrap comes before JupyterLab, which is started also where it failed.

Where the workspace can't be made, or its volume does not answer within `VOLUME_SECONDS`, JupyterLab opens the
home folder. Where MUSABI_STATE_DIR can't be written, the
pod's own files are in memory (`musabi.pod.state_dir`).

The end: on SIGTERM (exit code 143) or SIGINT (130) each runner gets SIGTERM, each run a stop request, services
get SIGTERM (the bootstrap SIGINT). A volume that hangs holds none of that up for more than a second. After
`GRACE_SECONDS`, or at a second signal, everything that is left is killed, and a run record that still says
"running" is ended with where to go on. That is within the 5 s that the platform gives.

The log is described in `musabi.pod.boot.container_log`, the services in `musabi.pod.boot.services`. boot.json
(`PodPlaces.boot`): {"started": Unix seconds, "identity": which container, "address": where to open JupyterLab,
"services": {name: {"state": running|starting|failed|done|off, "pid", "since", "restarts", "message"}}}.
"""

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import NoReturn

from musabi.children import secrets
from musabi.errors import ExitCode, MusabiError
from musabi.identity import identity
from musabi.pod import furnish
from musabi.pod.aside import Aside
from musabi.pod.boot import hooks, jupyter, login, services, ssh, stop_runs, threads
from musabi.pod.boot.container_log import container_log
from musabi.pod.boot.settings import read
from musabi.pod.boot.supervisor import StopAsked, Supervisor, adopt_orphans
from musabi.pod.state_dir import hold, usable_places
from musabi.whole import write_json
from musabi.workspace import Workspace

STOP_SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT})
GRACE_SECONDS = 4.0
# How long the end waits for the volume, each time it needs something there.
RUNS_SECONDS = 1.0
# How long JupyterLab waits for the workspace. A volume at work makes a few folders in a tenth of that.
VOLUME_SECONDS = 10.0
LOOK_SECONDS = 0.1
# The report waits for JupyterLab, which it is about, but not for ever.
REPORT_SECONDS = 30.0


def boot(environ: Mapping[str, str] | None = None) -> int:
    """Boot the pod, supervise it until it is asked to stop, and return the exit code; see the module's text.

    Raises:
        MachineError: a boot is under way in this container already.
    """
    adopt_orphans()
    pod = _Pod(os.environ if environ is None else environ)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    try:
        pod.start()
        pod.supervise()
    except StopAsked as asked:
        return pod.stop(asked.number)


class _Pod:
    """A boot under way: its settings, its places, and the supervisor that holds its processes."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.began, self.started = time.monotonic(), time.time()
        self.settings, self.wrong = read(environ)
        self.environ = dict(environ) | {"HOME": environ.get("HOME") or "/root"}
        self.space = Workspace(self.settings.workspace)
        self.places, trouble = usable_places(self.settings.musabi_state_dir)
        self.lock = hold(self.places)
        self.hidden = list(secrets(environ))
        self.say = container_log(self.hidden)
        self.supervisor = Supervisor(self.say, self.places.logs, self.hidden, self._write_boot)
        self.refused: dict[str, str] | None = None
        self.answering: int | None = None
        self.reported = False
        self.then = "The boot goes on."
        for text in (*self.wrong.values(), trouble):
            if text:
                self.say("boot", text)

    @property
    def own(self) -> dict[str, str]:
        """The environment of the boot's own verbs, without what they would refuse as far as that was checked."""
        left_out = {*jupyter.TOKEN_VARIABLES, *(self.refused or {})}
        return {name: value for name, value in self.environ.items() if name not in left_out}

    def start(self) -> None:
        """Steps 0 to 7. None of them keeps the ones after it from being done."""
        wants = self.settings
        self._attempt("The thread limits", self._cap_threads)
        if wants.needs_guard:
            self._attempt("The check of the variables", self._check)
            self._attempt("The guard", lambda: self.supervisor.start(services.guard_service(self.own)))
        self._attempt("/pre_start.sh", self._run_pre_start)
        self._attempt("The environment for login shells", self._write_login)
        self._attempt("SSH", self._start_ssh)
        root = self._furnish()
        # A bootstrap on a volume that hangs would never end.
        first = wants.bootstrap_wait and wants.run_bootstrap_on_start and root == self.space.root
        if first:
            self._attempt("The check of the variables", self._check)
            self._attempt("The bootstrap", self._run_bootstrap)
        self._attempt("JupyterLab", lambda: self._start_jupyter(root))
        self._attempt("The check of the variables", self._check)
        if not first:
            self._attempt("The bootstrap", self._start_bootstrap)
        if wants.auto_start_tensorboard:
            self._attempt(
                "TensorBoard", lambda: self.supervisor.start(services.tensorboard_service(self.own))
            )
        self._attempt("/post_start.sh", self._start_post_start)

    def supervise(self) -> NoReturn:
        """Step 8; ends only by `StopAsked`."""
        while True:
            try:
                waits = self._look_for_jupyter()
                self.supervisor.turn(LOOK_SECONDS if waits or not self.reported else 60.0)
            except StopAsked:
                raise
            except Exception as problem:  # a defect of its own must not end PID 1
                self.say("boot", f"An error that nobody foresaw: {type(problem).__name__}: {problem}.")
                time.sleep(1)

    def stop(self, number: int) -> int:
        """The end: runs first, then everything else. Nothing that fails or hangs keeps the rest from being ended."""
        until = time.monotonic() + GRACE_SECONDS
        self.then = "The end goes on."
        self.say("boot", f"{signal.Signals(number).name}: the pod ends.")
        runs = self._ask_runs()
        self._attempt("The services", lambda: self.supervisor.end(until))
        self._attempt("The runs", lambda: self._wait_for(runs, until))
        left: set[int] = set()
        self._attempt("What is left", lambda: left.update(self.supervisor.kill_all()))
        self._aside(
            "The run records", lambda: stop_runs.end_records(runs, lambda text: self.say("boot", text))
        )
        self.say("boot", "Ended." if not left else f"{len(left)} processes could not be ended.")
        return int(ExitCode.INTERRUPTED if number == signal.SIGINT else ExitCode.TERMINATED)

    def _ask_runs(self) -> list[stop_runs.ActiveRun]:
        """Ask all runs of this container to end; return them. The signals come before the volume is written to."""
        found: list[stop_runs.ActiveRun] = []
        self._aside("The runs", lambda: found.extend(stop_runs.active_runs(self.space.runs, identity())))
        runs = list(found)  # of a look that comes back too late nothing is taken
        self._attempt("The runs", lambda: stop_runs.signal_runners(runs))
        for run in runs:
            self.say("boot", f"The run {run.folder.name} was asked to save and stop.")
        if runs:
            self._aside("The stop requests", lambda: stop_runs.ask(runs))
        return runs

    def _wait_for(self, runs: list[stop_runs.ActiveRun], until: float) -> None:
        while any(run.is_alive for run in runs) and time.monotonic() < until and not self.supervisor.hurried:
            self.supervisor.turn(0.05)

    def _aside(self, what: str, act: Callable[[], None]) -> None:
        """Do a step of the end that the volume may hold, for no longer than `RUNS_SECONDS`."""
        self._attempt(what, lambda: Aside(RUNS_SECONDS).do(what.lower(), act))

    def _attempt(self, what: str, act: Callable[[], object]) -> None:
        """Do one step; one that fails is said and left out."""
        try:
            act()
        except StopAsked:
            raise
        except TimeoutError as error:
            self.say("boot", f"{what}: {error}. {self.then}")
        except OSError as error:
            self.say("boot", f"{what}: {error.filename or 'a file'}: {error.strerror}. {self.then}")
        except MusabiError as error:
            self.say("boot", f"{what}: {error} {self.then}")
        except Exception as error:  # no step is worth a pod that does not start or end
            self.say("boot", f"{what}: {type(error).__name__}: {error}. {self.then}")

    def _cap_threads(self) -> None:
        limits = threads.read_limits()
        self.environ |= threads.caps(limits.host_cores, limits.quota_cores, limits.pids_max, self.environ)

    def _run_pre_start(self) -> None:
        service = hooks.hook(hooks.PRE_START, self.environ)
        if service is not None:
            self.supervisor.run(service, slow_s=hooks.SLOW_SECONDS, slow=hooks.SLOW_WORDS)

    def _write_login(self) -> None:
        stamp = str(int(self.started))
        self.environ[login.STAMP] = stamp
        login.write_login(self.places, self.environ, self.settings.workspace, stamp)

    def _start_ssh(self) -> None:
        keys = ssh.read_keys(self.settings.keys)
        for refused in keys.refused:
            self.say("sshd", refused)
        server = ssh.find_server()
        if not keys.good or server is None:
            why = "No SSH key is set." if not keys.good else "No SSH server is installed in this image."
            self.supervisor.note("sshd", "off", why)
            if keys.good:
                self.say("sshd", why)
            return
        if not ssh.host_key(self.places).exists():
            self.supervisor.run(services.keygen_service(self.environ, self.places))
        ssh.admit(self.places, keys.good)
        self.supervisor.start(services.sshd_service(self.environ, self.places, server))

    def _furnish(self) -> Path:
        """Lay the workspace out, aside, since its volume may hang; return the folder that JupyterLab opens."""
        source, space = furnish.source_root(), self.space
        usable: list[bool] = []
        steps: dict[str, Callable[[], object]] = {
            "The workspace's folders": lambda: furnish.make_folders(space),
            "The workspace's scripts": lambda: furnish.link_scripts(source, space),
            "The workspace's templates": lambda: furnish.copy_templates(source, space),
            "The workspace": lambda: usable.append(space.root.is_dir()),
        }
        aside = Aside(VOLUME_SECONDS, lambda: self.supervisor.turn(0))
        for what, act in steps.items():
            # One name for all, so that a volume that hangs is waited for once.
            self._attempt(what, partial(aside.do, str(space.root), act))
        if any(usable):
            return space.root
        self.say("boot", f"{space.root} can't be used, so JupyterLab opens {self.places.home}.")
        return self.places.home

    def _start_jupyter(self, root: Path) -> None:
        token = jupyter.keep_token(self.places, self.environ)
        if len(token) >= 6 and token not in self.hidden:
            self.hidden.append(token)
        runs_already = self.settings.auto_start_tensorboard
        jupyter.write_config(
            self.places,
            jupyter.JupyterPlan(
                token_file=self.places.token,
                root=root,
                port=self.settings.jupyter_port,
                default_url=self.settings.jupyter_default_url,
                origin=self.settings.origin,
                tensorboard_logdir=self.settings.tensorboard_logdir,
                tensorboard_port=self.settings.tensorboard_port if runs_already else None,
            ),
        )
        self.supervisor.start(services.jupyter_service(self.environ, self.places, root))
        self.say(
            "jupyter", f"JupyterLab was started {time.monotonic() - self.began:.2f} s after the boot began."
        )

    def _check(self) -> None:
        """Step 6, once: find the variables that the boot's own verbs would refuse."""
        if self.refused is not None:
            return
        self.refused = {}
        standing = self.supervisor.run(services.settings_service(self.own))
        with contextlib.suppress(ValueError, IndexError):
            self.refused = dict(json.loads(standing.tail[-1]))
        for name, text in self.refused.items():
            if name not in self.wrong:
                self.say("boot", f"{text} What the boot starts goes without it.")

    def _run_bootstrap(self) -> None:
        self.say("boot", "BOOTSTRAP_WAIT is 1: JupyterLab starts when the bootstrap has ended.")
        self.supervisor.run(services.bootstrap_service(self.own, nice=0))

    def _start_bootstrap(self) -> None:
        if self.settings.run_bootstrap_on_start:
            self.supervisor.start(services.bootstrap_service(self.own))
        else:
            self.supervisor.note("bootstrap", "off", "RUN_BOOTSTRAP_ON_START is 0.")

    def _start_post_start(self) -> None:
        post_start = hooks.hook(hooks.POST_START, self.environ)
        if post_start is not None:
            self.supervisor.start(post_start)

    def _look_for_jupyter(self) -> bool:
        """Say once for each start that JupyterLab answers; return whether that is still awaited."""
        standing = self.supervisor.standings.get("jupyter")
        pid = standing.pid if standing is not None else None
        waits = pid is not None and pid != self.answering
        if waits and _listens(self.settings.jupyter_port):
            self.answering, waits = pid, False
            seconds = time.monotonic() - self.began
            self.say("jupyter", f"JupyterLab answers after {seconds:.1f} s: {self.settings.address}")
            self.say("jupyter", "The address with its token: musabi url (in a terminal of the pod)")
        if not self.reported and (not waits or time.monotonic() - self.began > REPORT_SECONDS):
            self.reported = True
            # The report says whether a token was given; the other verbs need not know it.
            given = {name: self.environ[name] for name in jupyter.TOKEN_VARIABLES if name in self.environ}
            self.supervisor.start(services.report_service(self.own | given))
        return waits

    def _write_boot(self) -> None:
        standings = {name: standing.as_json() for name, standing in self.supervisor.standings.items()}
        values = {"started": self.started, "identity": identity(), "address": self.settings.address}
        with contextlib.suppress(OSError, ValueError):  # no room, or a byte in a variable that is no text
            write_json(self.places.boot, values | {"services": standings}, 0o600, sync=False)


def _listens(port: int) -> bool:
    import socket

    with socket.socket() as probe:
        probe.settimeout(0.2)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def main() -> None:
    """Boot, and exit with the boot's code."""
    try:
        sys.exit(boot())
    except MusabiError as problem:
        print(f"Error: {problem}", file=sys.stderr)
        sys.exit(int(problem.exit_code))
