"""Runs stages as a graph: each once those before it are done, in parallel where nothing stands between."""

import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any

from musabi.children import Cancelled, scrub, secrets
from musabi.errors import ExitCode, MachineError, MusabiError
from musabi.pod.bootstrap.progress import Display
from musabi.pod.bootstrap.stage import Context, Stage, Work
from musabi.pod.bootstrap.state import fingerprint

DISK_FULL = (28, 122)
READ_ONLY = (13, 30)


@dataclass
class Result:
    """What came of a run: the errors by stage, the stages that could not start, those that had to run."""

    failed: dict[str, MusabiError] = field(default_factory=dict)
    blocked: list[str] = field(default_factory=list)
    ran: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> ExitCode:
        if not self.failed:
            return ExitCode.DONE
        codes = {error.exit_code for error in self.failed.values()}
        return ExitCode.WRONG_REQUEST if codes == {ExitCode.WRONG_REQUEST} else ExitCode.MACHINE_CANNOT


class Graph:
    """One run over some stages. `before_work` is called before the first stage that is not skipped."""

    def __init__(
        self,
        stages: Sequence[Stage],
        context: Context,
        display: Display,
        *,
        require_held: Callable[[], None] = lambda: None,
        before_work: Callable[[], None] = lambda: None,
    ) -> None:
        self._stages = {stage.name: stage for stage in stages}
        self._context = context
        self._display = display
        self._require_held = require_held
        self._before_work = before_work
        self._values: dict[str, dict[str, Any]] = {name: {"state": "waiting"} for name in self._stages}
        self._result = Result()

    def run(self) -> Result:
        """Run what has to be run.

        Raises:
            KeyboardInterrupt: it was called off; the children were ended.
        """
        waiting = dict(self._stages)
        done: set[str] = set()
        going: dict[Future[bool], str] = {}
        with ThreadPoolExecutor(max_workers=max(1, len(waiting)), thread_name_prefix="stage") as pool:
            try:
                while waiting or going:
                    for name in [name for name, stage in waiting.items() if set(stage.after) <= done]:
                        going[pool.submit(self._stage, waiting.pop(name))] = name
                    if not going:
                        break
                    ended, _ = wait(going, return_when=FIRST_COMPLETED)
                    done |= {name for future in ended if (name := going.pop(future)) and future.result()}
            except BaseException:
                self._context.cancel.set()
                raise
        for name in waiting:
            self._block(name)
        return self._result

    def _block(self, name: str) -> None:
        self._result.blocked.append(name)
        lacking = [before for before in self._stages[name].after if self._values[before]["state"] != "done"]
        lacking = [before for before in lacking if self._values[before]["state"] != "skipped"]
        self._change(name, state="blocked", message=f"needs {', '.join(lacking)}")

    def _stage(self, stage: Stage) -> bool:
        """Run or skip a stage; return whether later ones may start."""
        began = time.time()
        try:
            self._require_held()
            return self._prove(stage) or self._work(stage, began)
        except Cancelled:
            self._change(stage.name, state="interrupted", ended=time.time())
            return False
        except MusabiError as error:
            failure = error
        except OSError as error:
            failure = _os_error(error)
        except Exception as error:
            self._context.log(traceback.format_exc())
            failure = MachineError(
                f"The stage {stage.name} met an error that nobody foresaw: {type(error).__name__}: {error}. "
                f"Its details are in {self._context.options.space.state / 'bootstrap.log'}."
            )
        message = scrub(str(failure), secrets(self._context.options.environment))
        self._result.failed[stage.name] = (
            type(failure)(message) if type(failure) in PLAIN else MachineError(message)
        )
        self._change(stage.name, state="failed", message=message, ended=time.time())
        return False

    def _prove(self, stage: Stage) -> bool:
        state = stage.state(self._context)
        known = state.done(stage.name)
        if known is None or known["hash"] != fingerprint(stage.depends_on(self._context)):
            return False
        proof = stage.proof(self._context, known["facts"])
        if not proof.holds:
            return False
        self._context.facts[stage.name] = known["facts"]
        self._change(stage.name, state="skipped", message=proof.note)
        return True

    def _work(self, stage: Stage, began: float) -> bool:
        self._before_work()
        self._result.ran.append(stage.name)
        self._change(stage.name, state="running", started=began)
        work = Work(
            self._context,
            say=lambda text: self._say(stage.name, text),
            moved=lambda here, total: self._moved(stage.name, here, total, began),
        )
        key = fingerprint(stage.depends_on(self._context))
        facts = stage.run(work)
        self._context.facts[stage.name] = facts
        stage.state(self._context).finish(stage.name, key, facts)
        self._change(stage.name, state="done", ended=time.time())
        return True

    def _say(self, name: str, text: str) -> None:
        self._context.log(f"{name}: {text}")
        self._change(name, message=text)

    def _moved(self, name: str, here: int, total: int, began: float) -> None:
        """Note a stage's bytes; the time left is worked out from what came since the stage began."""
        values = self._values[name]
        first = values.setdefault("_first", here)
        seconds = time.time() - began
        eta = (total - here) * seconds / (here - first) if here > first and total else None
        self._change(name, soon=False, bytes=here, total=total, eta_s=None if eta is None else round(eta, 1))

    def _change(self, name: str, soon: bool = True, **values: Any) -> None:  # noqa: ANN401 - JSON values
        self._values[name] |= values
        shown = {
            key: value for key, value in self._values[name].items() if value is not None and key[0] != "_"
        }
        self._context.volume.progress(name, soon, **shown)
        self._display.show(name, shown)


PLAIN = tuple(error for error in MusabiError.__subclasses__())


def _os_error(error: OSError) -> MachineError:
    where = f" ({error.filename})" if error.filename else ""
    if error.errno in DISK_FULL:
        return MachineError(f"The disk is full{where}. Make room, then run musabi bootstrap again.")
    if error.errno in READ_ONLY:
        return MachineError(f"This can't be written{where}. Check the volume and its permissions.")
    return MachineError(f"{error.strerror or error}{where}. Check the disk, then run musabi bootstrap again.")
