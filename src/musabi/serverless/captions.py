"""Captions for what a request brought without any: images by a model on the GPU, videos by Gemini or such a model."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from musabi.captioning.asked import VIDEO_DEFAULT, Asked, caption, say_and_go_on
from musabi.captioning.models import BY_NAME, CaptioningModel
from musabi.captioning.plan import Kind, Plan, Uncaptioned, has_caption, kind_of
from musabi.captioning.run import Heed
from musabi.captioning.weights import ModelFiles, family_of, fetch_model, find_model
from musabi.errors import MachineError, RequestError
from musabi.serverless.context import Context
from musabi.serverless.models.found import RUNPOD_CACHE
from musabi.serverless.models.locks import turn
from musabi.serverless.parts import BroughtDataset
from musabi.serverless.request.secrets import GEMINI_KEY, HUB_TOKEN
from musabi.settings import Settings, of_group
from musabi.settings import load as pod_settings

WORDS: dict[Kind, str] = {"image": "Captioning images", "video": "Captioning videos"}
GEMINI: Literal["gemini"] = "gemini"
MOST_NAMES = 10
TELL_SECONDS = 1.0


@dataclass(frozen=True)
class Failure:
    """A file that got no caption, and the sentence that says why."""

    file: Path
    why: str


def caption_missing(context: Context, brought: BroughtDataset) -> int:
    """Caption what has no caption, and return how many the job has got so. A caption that is there is kept.

    Each caption is written whole as soon as it is made, so a job that is started again does the rest.

    Raises:
        RequestError: a file can't be captioned; the message names it. The others are captioned by then.
        MachineError, TrainerError: the captioner can't work, as `captioning.asked.caption`.
        Stopped, Cancelled: the job was asked to end.
    """
    items = [item_of(file) for file in brought.uncaptioned]
    for kind in WORDS:
        of_kind = [item for item in items if item.kind == kind]
        waiting = [item for item in of_kind if not has_caption(item.caption_file)]
        if not waiting:
            continue
        context.updates.add("CAPTIONING", {"message": WORDS[kind], "files": len(of_kind)})
        heed = _teller(context, kind, len(of_kind), len(of_kind) - len(waiting))
        heed(0)
        captioner = captioner_for(context, kind)
        context.say(f"{WORDS[kind]}: {len(waiting)} files, by {captioner}")
        failed = (
            _by_gemini(context, waiting, heed)
            if captioner == GEMINI
            else _by_model(context, BY_NAME[captioner], waiting, heed)
        )
        _require_all(waiting, failed)
    return len(items)


def needs_musubi_tuner(context: Context, brought: BroughtDataset) -> bool:
    """Tell whether a model on the GPU captions something that a request brought, in musubi-tuner's environment.

    Raises:
        RequestError: as `captioner_for`.
    """
    kinds = {item.kind for item in map(item_of, brought.uncaptioned) if not has_caption(item.caption_file)}
    return context.choice.engine != "diffusers" and any(
        captioner_for(context, kind) != GEMINI for kind in kinds
    )


def item_of(file: Path) -> Uncaptioned:
    """Return a file of the dataset as one that wants a caption: NAME.txt beside it."""
    return Uncaptioned(file, kind_of(file) or "video", file.with_suffix(".txt"))


def captioner_for(context: Context, kind: Kind) -> str:
    """Return who captions: what the request names where it fits, else the endpoint's for images, Gemini for videos.

    Without a Gemini key videos go to Qwen3-VL. A model on the GPU that the request names is not passed over for
    Gemini: then nothing leaves the worker.

    Raises:
        RequestError: Gemini is named and there is no key, or ENDPOINT_CAPTIONER names nothing.
    """
    named = context.request.dataset.caption_with
    row = BY_NAME.get(named or "")
    if row is not None and (kind == "image" or row.video):
        return row.name
    if kind == "image":
        own = context.settings.endpoint_captioner
        if own not in BY_NAME:
            raise RequestError(f'ENDPOINT_CAPTIONER is "{own}", but must be one of {", ".join(BY_NAME)}.')
        return own
    if context.secrets.get(GEMINI_KEY):
        return GEMINI
    if named == GEMINI:
        raise RequestError("gemini_api_key is required for video captioning")
    return VIDEO_DEFAULT


def _by_gemini(context: Context, items: Sequence[Uncaptioned], heed: Heed) -> list[Failure]:
    from musabi.captioning.gemini import Gemini
    from musabi.captioning.gemini_run import caption_videos

    gemini = Gemini(
        context.secrets[GEMINI_KEY], context.settings.gemini_models, context.settings.gemini_url.rstrip("/")
    )
    failed = caption_videos(gemini, items, context.say, heed)
    return [Failure(problem.video, str(problem)) for problem in failed]


def _by_model(
    context: Context, row: CaptioningModel, items: Sequence[Uncaptioned], heed: Heed
) -> list[Failure]:
    settings = settings_of(context, row)
    found = bring_model(context, row, settings)
    outcome = caption(
        settings.model_copy(update={"caption_model_path": found.model}),
        Plan(tuple(items)),
        Asked(),
        say_and_go_on(context.say),
        context.say,
        environ=context.environ,
        heed=heed,
    )
    return [Failure(file, f"{file.name} {why.rstrip('.')}.") for file, why in outcome.failed]


def settings_of(context: Context, row: CaptioningModel) -> Settings:
    """Return a pod's settings with the endpoint's folders. What sets a job there sets none here."""
    of_a_pod = of_group("pod")
    given = {name: value for name, value in context.environ.items() if name in of_a_pod}
    asked = {
        "workspace": context.places.root,
        "hf_home": context.places.hf_home,
        "engine": "diffusers" if context.choice.engine == "diffusers" else "musubi",
        "caption_with": row.name,
        "caption_model_path": own_model(context, row),
    }
    return pod_settings(given, asked)


def own_model(context: Context, row: CaptioningModel) -> Path | None:
    """Return the folder that CAPTION_MODEL_PATH names on the endpoint, where it holds a model of this kind."""
    text = context.environ.get("CAPTION_MODEL_PATH", "").strip()
    return Path(text) if text and family_of(Path(text)) is row else None


def bring_model(context: Context, row: CaptioningModel, settings: Settings) -> ModelFiles:
    """Return the model's files: the endpoint's own, Runpod's cached ones, else fetched once for all jobs.

    Raises:
        MachineError: there is no room, or the hub can't be reached.
        Cancelled: the job was asked to end.
    """
    environment = dict(context.environ) | settings.child_environment
    if settings.caption_model_path is not None:
        return find_model(row, settings.caption_model_path, environment)
    if found := _in_a_cache(context, row, environment):
        return found
    with turn(context.places.state / "models", row.name, say=context.say, cancel=context.stop):
        if found := _in_a_cache(context, row, environment):
            return found
        token = context.secrets.get(HUB_TOKEN)
        access = environment | ({"HF_TOKEN": token} if token else {})
        context.tell("captions", f"Downloading {row.title}")
        fetch_model(row, access, settings.hf_max_workers, context.say, context.stop)
    return find_model(row, None, environment)


def _in_a_cache(context: Context, row: CaptioningModel, environment: Mapping[str, str]) -> ModelFiles | None:
    for cache in caches(context, environment):
        try:
            return find_model(row, None, cache)
        except MachineError:
            continue
    return None


def caches(context: Context, environment: Mapping[str, str]) -> Iterator[Mapping[str, str]]:
    """Yield the environments that say where a model may lie: the endpoint's cache, then Runpod's."""
    yield environment
    if context.places.volume is not None:
        yield dict(environment) | {"HF_HUB_CACHE": str(context.places.volume / RUNPOD_CACHE)}


def _teller(context: Context, kind: Kind, files: int, before: int) -> Callable[[int], None]:
    """Return what is called as captions come: it tells how far it is, and ends the work where the job shall end."""
    told = (-1, 0.0)

    def heed(written: int) -> None:
        nonlocal told
        context.require_going_on()
        done, now = before + written, time.monotonic()
        if done == told[0] or now - told[1] < TELL_SECONDS:
            return
        told = (done, now)
        context.tell("captions", WORDS[kind], progress=round(100 * done / files, 1), step=done, steps=files)

    return heed


def _require_all(items: Sequence[Uncaptioned], failed: Sequence[Failure]) -> None:
    """Refuse to go on where a file has no caption.

    Raises:
        RequestError: as said; it names the files.
    """
    known = {one.file for one in failed}
    silent = [
        Failure(item.file, f"{item.file.name} got no caption.")
        for item in items
        if item.file not in known and not has_caption(item.caption_file)
    ]
    missing = [*failed, *silent]
    if not missing:
        return
    names = ", ".join(one.file.name for one in missing[1 : MOST_NAMES + 1])
    more = f" {len(missing) - 1} more got none: {names}{', ...' if len(missing) > MOST_NAMES + 1 else ''}."
    kept = len(items) - len(missing)
    raise RequestError(
        f"{missing[0].why}{more if names else ''}"
        + (f" The other {kept} captions are kept for /retry." if kept else "")
    )
