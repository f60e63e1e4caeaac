"""From settings to captions: which model, where it is, on what. What the verb and `musabi run` call."""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from musabi.captioning.harvest import Captioned
from musabi.captioning.interpreter import captioning_environment, captioning_python
from musabi.captioning.models import BY_NAME, CaptioningModel
from musabi.captioning.plan import Plan, make_plan, places_of
from musabi.captioning.run import Agree, Heed, Outcome, Task, caption_files, pay_no_heed
from musabi.captioning.text import Wording
from musabi.captioning.weights import ModelFiles, family_of, fetch_model, find_model
from musabi.dataset.config import DatasetConfig
from musabi.errors import MachineError, RequestError
from musabi.machine import machine_facts
from musabi.settings import Settings

GIB = 1024**3
DEVICE = re.compile(r"cpu|cuda(:\d+)?")
ROOM_GIB = 2.0
"""GPU memory that a model takes beside its weights, with one picture at a time."""
VIDEO_DEFAULT, PICTURE_DEFAULT = "qwen3-vl", "joycaption"


@dataclass(frozen=True)
class Asked:
    """What a person asked for besides the settings."""

    overwrite: bool = False
    preview_only: bool = False
    fetch: bool = False
    device: str | None = None
    prompt: str | None = None
    max_new_tokens: int | None = None
    batch: int | None = None


def caption_missing(settings: Settings, dataset_config: DatasetConfig, say: Callable[[str], None]) -> int:
    """Caption what has no caption in a dataset, and return how many captions were written.

    Three are said before the others are made. Nothing is asked: it is for runs that nobody looks at.

    Raises:
        RequestError, MachineError, TrainerError: as `caption`.
    """
    plan = make_plan(places_of(dataset_config))
    if not plan.files:
        return 0
    return len(caption(settings, plan, Asked(), say_and_go_on(say), say).written)


def say_and_go_on(say: Callable[[str], None]) -> Agree:
    """Return an answer to the preview that says the captions and goes on."""

    def agree(made: Sequence[Captioned], _left: int) -> bool:
        for line in preview_lines(made):
            say(line)
        return True

    return agree


def preview_lines(made: Sequence[Captioned]) -> list[str]:
    """Return the captions of a preview, a line each."""
    return [f"{one.item.file.name}: {one.text}" for one in made]


def caption(
    settings: Settings,
    plan: Plan,
    asked: Asked,
    agree: Agree,
    say: Callable[[str], None],
    *,
    environ: Mapping[str, str] | None = None,
    heed: Heed = pay_no_heed,
) -> Outcome:
    """Caption the files of a plan as the settings say.

    `environ` is what the captioner's environment is made from (this process's own where it is None); `heed` is as
    for `caption_files`.

    Raises:
        RequestError: the model or a value is wrong, or the model takes no videos.
        MachineError: there is no GPU, no model, no memory, no room or no environment.
        TrainerError: the captioner broke.
    """
    row = choose_model(settings, plan)
    for file, why in plan.passed_over:
        say(f"Passed over: {file}: {why}")
    python = captioning_python(settings)
    device = choose_device(settings, asked.device, row)
    files = _files(settings, row, asked.fetch, say)
    _require_memory(row, files, device)
    task = Task(
        model=row,
        files=files,
        python=python,
        environment=captioning_environment(settings, environ),
        device=device,
        wording=wording_of(settings),
        prompt=asked.prompt,
        max_new_tokens=asked.max_new_tokens,
        batch=asked.batch,
        seed=settings.seed,
    )
    return caption_files(
        plan, task, agree, say, overwrite=asked.overwrite, preview_only=asked.preview_only, heed=heed
    )


def wording_of(settings: Settings) -> Wording:
    """Return what stands around every caption."""
    return Wording(settings.caption_prefix or "", settings.caption_suffix or "", settings.trigger_word or "")


def choose_model(settings: Settings, plan: Plan) -> CaptioningModel:
    """Return the model that CAPTION_WITH names, else the one that CAPTION_MODEL_PATH holds, else the usual one.

    Raises:
        RequestError: there are videos and the model takes none.
    """
    videos = [item.file for item in plan.files if item.kind == "video"]
    given = settings.caption_model_path
    found = family_of(given) if given is not None else None
    if settings.caption_with is not None:
        row = BY_NAME[settings.caption_with]
    else:
        row = found or BY_NAME[VIDEO_DEFAULT if videos else PICTURE_DEFAULT]
    if videos and not row.video:
        able = " or ".join(one.name for one in BY_NAME.values() if one.video)
        raise RequestError(
            f"{row.title} takes pictures only, and {videos[0].name} is a video. Set CAPTION_WITH to {able}."
        )
    return row


def choose_device(settings: Settings, given: str | None, row: CaptioningModel) -> str:
    """Return the device: the one that is asked for, else the GPU; the embedded engine makes do without one.

    Raises:
        RequestError: there is no such device.
        MachineError: there is no GPU.
    """
    if given is not None:
        if not DEVICE.fullmatch(given):
            raise RequestError(f'--device must be cuda, cuda:1 or cpu, not "{given}".')
        return given
    if machine_facts().gpus:
        return "cuda"
    if settings.engine == "diffusers":
        return "cpu"
    raise MachineError(
        f"There is no GPU here, and {row.title} takes minutes a picture without one. Take a pod with a GPU of "
        f"{row.vram_gib:g} GiB, or add --device cpu."
    )


def _files(settings: Settings, row: CaptioningModel, fetch: bool, say: Callable[[str], None]) -> ModelFiles:
    environment = os.environ | settings.child_environment
    if fetch and settings.caption_model_path is None:
        try:
            return find_model(row, None, environment)
        except MachineError:
            fetch_model(row, environment, settings.hf_max_workers, say)
    return find_model(row, settings.caption_model_path, environment)


def _require_memory(row: CaptioningModel, files: ModelFiles, device: str) -> None:
    gpus = machine_facts().gpus if device.startswith("cuda") else ()
    need = files.size / GIB + ROOM_GIB
    if gpus and gpus[0] / GIB < need:
        raise MachineError(
            f"{row.title} takes {need:.0f} GiB of GPU memory at least, and this GPU has {gpus[0] / GIB:.0f}. "
            "Take a larger one, or name a smaller model of its kind with CAPTION_MODEL_PATH."
        )
