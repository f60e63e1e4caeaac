"""The boot report: what this pod is and does, a line a row, for the container's log. Quick, and without torch."""

import contextlib
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from musabi.dataset.extensions import IMAGE_EXTENSIONS
from musabi.pod.boot.settings import read
from musabi.pod.bootstrap.state import bootstrap_status
from musabi.pod.doctor import disk, gpu, names
from musabi.pod.doctor.doctor import ORDER, Look, side_by_side
from musabi.pod.doctor.finding import Finding, finding, ok, public
from musabi.pod.doctor.scene import Scene
from musabi.pod.doctor.texts import State
from musabi.settings import Settings
from musabi.whole import read_json, write_json

LOOK_SECONDS = 3.0
NAME_WIDTH = 10


@dataclass(frozen=True)
class Row:
    """One row. `text` is one line; `more` holds the mends where something is wrong, a line each."""

    name: str
    state: State
    text: str
    more: tuple[str, ...] = ()


def boot_report(settings: Settings, environ: Mapping[str, str]) -> list[Row]:
    """Look at the pod for a few seconds and return the rows, fit to be shown to everybody."""
    scene = Scene(settings, dict(environ))
    found = side_by_side(scene, LOOKS)
    return [row_of(look.field, found[look.field], scene.hidden) for look in LOOKS]


def write_report(settings: Settings, environ: Mapping[str, str], rows: Iterable[Row]) -> None:
    """Keep the rows for others in PodPlaces.report, 0600, where that can be written."""
    places = Scene(settings, environ).pod
    with contextlib.suppress(OSError):  # a full disk is what the report is about
        places.root.mkdir(parents=True, exist_ok=True)
        places.root.chmod(0o700)
        write_json(places.report, {"made": time.time(), "rows": [asdict(row) for row in rows]}, mode=0o600)


def lines(rows: Iterable[Row]) -> list[str]:
    """Return the rows as lines of text: one a row, and the mends below a row that has some."""
    shown = []
    for row in rows:
        mark = "" if row.state == "ok" else f"{row.state.upper() if row.state == 'blocks' else row.state}: "
        shown.append(f"{row.name:<{NAME_WIDTH}} {mark}{row.text}")
        shown += [f"{'':<{NAME_WIDTH}}   {mend}" for mend in row.more]
    return shown


def row_of(name: str, found: list[Finding], hidden: Iterable[str]) -> Row:
    """Return the row for what a look found: the worst first, what is right last."""
    ranked = [public(each, hidden) for each in sorted(found, key=lambda each: ORDER.index(each.state))]
    state: State = ranked[0].state if ranked else "ok"
    text = " ".join(each.sentence if each.state != "ok" else f"{each.what}." for each in ranked)
    return Row(name, state, text, tuple(dict.fromkeys(each.mend for each in ranked if each.mend)))


def look_at_gpu(scene: Scene) -> list[Finding]:
    """The GPU and its driver, without a context on it."""
    return gpu.look(scene, free=False, limit_s=LOOK_SECONDS - 0.5)


def look_at_cuda(scene: Scene) -> list[Finding]:
    """The CUDA that the trainer's torch wants. What the driver has stands in the row above."""
    wanted = gpu.wanted_cuda(scene)
    source = (
        "MUSUBI_CUDA_EXTRA asks for" if scene.trainer_python is None else "the trainer's torch was built for"
    )
    words = f"CUDA {gpu.dotted(wanted)}" if wanted else "no CUDA"
    return [ok("cuda", f"{source} {words}")]


def look_at_workspace(scene: Scene) -> list[Finding]:
    """How the bootstrap stands, how many images there are, and the newest run."""
    space = scene.settings.space
    status = bootstrap_status(space)
    bootstrap = f"bootstrap {status['state']}" if status else "no bootstrap yet"
    images = (
        sum(path.suffix in IMAGE_EXTENSIONS for path in space.images.iterdir())
        if space.images.is_dir()
        else 0
    )
    newest = scene.newest_run
    run = f"last run {newest.id} {newest.state.value}" if newest else "no run yet"
    return [ok("workspace", f"{bootstrap}, {images} image{'' if images == 1 else 's'}, {run}")]


def look_at_tokens(scene: Scene) -> list[Finding]:
    """Which tokens are there: names alone, never a value, nor its length."""
    settings = scene.settings
    rows = (
        ("HF_TOKEN", scene.access.token is not None),
        ("RUNPOD_API_KEY", bool(settings.runpod_api_key)),
        ("JUPYTER_TOKEN or JUPYTER_PASSWORD", bool(settings.jupyter_token or settings.jupyter_password)),
        ("an SSH key", bool(settings.ssh_public_key or settings.public_key)),
    )
    there = [name for name, given in rows if given] or ["none"]
    absent = [name for name, given in rows if not given] or ["none"]
    return [ok("tokens", f"set: {', '.join(there)}; not set: {', '.join(absent)}")]


def look_at_addresses(scene: Scene) -> list[Finding]:
    """Where to open JupyterLab. The token is not in it: `musabi url` shows it to who is on the pod."""
    told = read_json(scene.pod.boot)
    address = told.get("address") if isinstance(told, dict) else None
    if not isinstance(address, str):
        address = read(scene.environ)[0].address
    return [ok("open", f"{address} (musabi url shows it with the token)")]


def look_at_work(scene: Scene) -> list[Finding]:
    """What is still at work: the bootstrap's stages and the pod's services."""
    status = bootstrap_status(scene.settings.space)
    stages = status["stages"] if status and status["state"] == "running" else {}
    going = [name for name, stage in stages.items() if stage.get("state") == "running"]
    waiting = [name for name, stage in stages.items() if stage.get("state") == "waiting"]
    parts = [f"bootstrap: {', '.join(going)}"] if going else []
    parts += [f"then {', '.join(waiting)}"] if waiting else []
    services = services_of(scene)
    up = [name for name, about in services.items() if about.get("state") in ("running", "starting")]
    parts += [f"services: {', '.join(up)}"] if up else []
    failed = [name for name, about in services.items() if about.get("state") == "failed"]
    logs = scene.pod.logs
    return [
        ok("work", "; ".join(parts) or "nothing"),
        *(finding("services.failed", service=name, log=logs / f"{name}.log") for name in failed),
    ]


def services_of(scene: Scene) -> dict[str, dict[str, Any]]:
    """Return what the boot says of its services, by name; none outside a pod."""
    boot = read_json(scene.pod.boot)
    services = boot.get("services") if isinstance(boot, dict) else None
    return services if isinstance(services, dict) else {}


def look_at_stops(scene: Scene) -> list[Finding]:
    """When the pod stops by itself."""
    settings = scene.settings
    parts = []
    if settings.max_hours is not None:
        parts.append(f"after {settings.max_hours:g} h (MAX_HOURS)")
    if settings.idle_minutes is not None:
        parts.append(f"after {settings.idle_minutes:g} min without work (IDLE_MINUTES)")
    if settings.on_finish != "none":
        parts.append(f"{settings.on_finish} when a run is done (ON_FINISH)")
    if settings.on_error != "none":
        parts.append(f"{settings.on_error} when a run failed (ON_ERROR)")
    return [ok("stops", ", ".join(parts) or "never by itself: it costs until you stop it")]


LOOKS = (
    Look("GPU", look_at_gpu, LOOK_SECONDS),
    Look("CUDA", look_at_cuda, LOOK_SECONDS),
    Look("disk", disk.look_at_workspace, LOOK_SECONDS),
    Look("workspace", look_at_workspace, LOOK_SECONDS),
    Look("DNS", names.look, LOOK_SECONDS),
    Look("tokens", look_at_tokens, LOOK_SECONDS),
    Look("open", look_at_addresses, LOOK_SECONDS),
    Look("work", look_at_work, LOOK_SECONDS),
    Look("stops", look_at_stops, LOOK_SECONDS),
)
