"""All looks, side by side: each bounded in time, and none of them may end in a traceback."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from musabi.pod.doctor import cores, disk, gpu, kernels, network, output, ports
from musabi.pod.doctor.finding import Finding, finding, public
from musabi.pod.doctor.scene import Scene
from musabi.pod.doctor.texts import State

FIELD_WIDTH = 8
STATE_WORDS: dict[State, str] = {"ok": "ok", "note": "note", "blocks": "BLOCKS", "unknown": "unknown"}
ORDER: tuple[State, ...] = ("blocks", "unknown", "note", "ok")


@dataclass(frozen=True)
class Look:
    """One field of looks. `limit_s`: seconds after which it is left behind."""

    field: str
    look: Callable[[Scene], list[Finding]]
    limit_s: float


KERNELS = Look("kernels", kernels.look, kernels.LIMIT_SECONDS + 10)
LOOKS = (
    Look("gpu", gpu.look, 30),
    KERNELS,
    Look("cores", cores.look, 10),
    Look("disk", disk.look, 60),
    Look("network", network.look, 60),
    Look("ports", ports.look, 10),
    Look("output", output.look, 10),
)


def diagnose(scene: Scene, looks: Sequence[Look] = LOOKS) -> list[Finding]:
    """Look at everything and return what was found, in the order of the looks, fit to be shown to everybody."""
    found = side_by_side(scene, looks)
    return [public(each, scene.hidden) for look in looks for each in found[look.field]]


def side_by_side(scene: Scene, looks: Sequence[Look]) -> dict[str, list[Finding]]:
    """Return the findings of each look by its field; one that fails or takes too long is a finding itself."""
    found: dict[str, list[Finding]] = {}

    def work(look: Look) -> None:
        try:
            found[look.field] = look.look(scene)
        except Exception as error:  # the doctor goes on, whatever a look meets
            said = f"{type(error).__name__}: {error}"[:200]
            found[look.field] = [finding("doctor.failed", field=look.field, error=said.rstrip("."))]

    # A thread that hangs in the kernel (a dead driver, a dead mount) can't be ended, only left behind.
    threads = [threading.Thread(target=work, args=(look,), daemon=True) for look in looks]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for look, thread in zip(looks, threads, strict=True):
        thread.join(max(0.0, began + look.limit_s - time.monotonic()))
    late = {
        look.field: [finding("doctor.late", field=look.field, seconds=f"{look.limit_s:g}")] for look in looks
    }
    return late | dict(found)


def blocks(found: Sequence[Finding]) -> bool:
    """Tell whether something stands in the way of a training."""
    return any(each.state == "blocks" for each in found)


def lines(found: Sequence[Finding]) -> list[str]:
    """Return the findings as lines for a person: one a field where all is right, else the consequence first."""
    shown: list[str] = []
    for field in dict.fromkeys(each.field for each in found):
        shown += _field_lines(field, [each for each in found if each.field == field])
    return [*shown, "", summary(found)]


def summary(found: Sequence[Finding]) -> str:
    """Return the last line: how many findings block, and how many are worth knowing."""
    counts = {state: sum(each.state == state for each in found) for state in ORDER}
    what = {"blocks": "in the way of a training", "unknown": "not known", "note": "worth knowing"}
    parts = [f"{counts[state]} {words}" for state, words in what.items() if counts[state]]  # type: ignore[index]
    return f"{'; '.join(parts)}." if parts else "Nothing stands in the way of a training."


def _field_lines(field: str, found: list[Finding]) -> list[str]:
    shown = []
    for each in sorted(found, key=lambda each: ORDER.index(each.state)):
        if each.state != "ok":
            shown.append(f"{field:<{FIELD_WIDTH}} {STATE_WORDS[each.state]:<8} {each.sentence}")
            shown.append(f"{'':<{FIELD_WIDTH}} {'':<8} {each.mend}")
    right = "; ".join(each.what for each in found if each.state == "ok")
    return [*shown, f"{field:<{FIELD_WIDTH}} {'ok':<8} {right}"] if right else shown
