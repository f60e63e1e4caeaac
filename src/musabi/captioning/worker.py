"""The part of `musabi caption` that holds the model. It is run by path, by the trainer's own interpreter.

It imports nothing of musabi: only the standard library, torch, transformers, Pillow and, for videos, PyAV. It
works with transformers 4.57 and 5. The one argument is a JSON file, the request. What it has to say goes to
stdout as JSON, a line each, as soon as it is known:

    {"event": "loading"}                            the model's weights are being read
    {"event": "ready", "seconds": 31.2}             captions follow
    {"file": "a.jpg", "caption": "...", "cut": false}   `cut`: it ran into max_new_tokens
    {"file": "b.jpg", "error": "is not an image"}   the others go on
    {"event": "smaller", "batch": 2, "side": 1024}  the memory ran out, so less is done at a time
    {"event": "failed", "kind": "memory", "message": "..."}   the end; exit code 3
"""

from __future__ import annotations

import inspect
import itertools
import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING or __package__:
    from musabi.captioning.looking import PAIR, Limits, Seen, see, why
else:  # run by path, in an environment without musabi: what lies beside it is loaded by path too
    from importlib.util import module_from_spec, spec_from_file_location

    _beside = spec_from_file_location("looking", Path(__file__).with_name("looking.py"))
    sys.modules["looking"] = module_from_spec(_beside)
    _beside.loader.exec_module(sys.modules["looking"])
    from looking import PAIR, Limits, Seen, see, why

FAILED = 3
IMAGE_PAD, VIDEO_PAD = "<|image_pad|>", "<|video_pad|>"
VISION_START, VISION_END = "<|vision_start|>", "<|vision_end|>"


class Failed(Exception):  # noqa: N818 - said to the tool, which has the words for it
    """The end of the work. `kind` is a row of the tool's table of failures."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Voice:
    """Writes to what was stdout; whatever a library prints goes to stderr from then on."""

    def __init__(self) -> None:
        sys.stdout.flush()
        self._out = os.dup(1)
        os.dup2(2, 1)

    def say(self, **values: Any) -> None:  # noqa: ANN401 - any JSON value
        # A progress bar of a library may have left half a line in the same pipe.
        data = b"\n" + json.dumps(values, ensure_ascii=False).encode() + b"\n"
        while data:
            data = data[os.write(self._out, data) :]


# ---------------------------------------------------------------- models


class Llava:
    """JoyCaption's kind: one picture a text, prepared by the model's own processor."""

    model_class = "LlavaForConditionalGeneration"

    def __init__(self, folder: str) -> None:
        from transformers import AutoProcessor

        self._processor = AutoProcessor.from_pretrained(folder, local_files_only=True)
        self.tokenizer = self._processor.tokenizer
        prepare(self.tokenizer)

    def inputs(self, seen: list[Seen], system: str | None, prompts: dict[str, str]) -> dict[str, Any]:
        """Return what the model is called with."""
        said = [{"role": "system", "content": system}] if system else []
        said.append({"role": "user", "content": prompts["image"]})
        text = self._processor.apply_chat_template(said, tokenize=False, add_generation_prompt=True)
        pictures = [one.frames[0] for one in seen]
        bos = self.tokenizer.bos_token
        # A text that begins with the token already must not get it twice: the captions turn bad.
        special = not (bos and text.startswith(bos))
        made = self._processor(
            text=[text] * len(seen),
            images=pictures,
            padding=True,
            add_special_tokens=special,
            return_tensors="pt",
        )
        return dict(made)


class Qwen:
    """What the Qwen-VL families share: pictures and frames as patches, a place in the text for each patch.

    The model's image processor cuts the patches, of videos as well: so neither torchvision nor the video
    processor of one particular transformers version is needed.
    """

    model_class = ""

    def __init__(self, folder: str) -> None:
        from transformers import AutoImageProcessor, AutoTokenizer

        self._cutter = AutoImageProcessor.from_pretrained(folder, local_files_only=True)
        self.tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        prepare(self.tokenizer)
        self._template = chat_template(Path(folder)) or self.tokenizer.chat_template

    def inputs(self, seen: list[Seen], system: str | None, prompts: dict[str, str]) -> dict[str, Any]:
        """Return what the model is called with: pictures only, or one video."""
        kind = "video" if seen[0].is_video else "image"
        said: list[dict[str, Any]] = [{"role": "system", "content": system}] if system else []
        said.append({"role": "user", "content": [{"type": kind}, {"type": "text", "text": prompts[kind]}]})
        text = self.tokenizer.apply_chat_template(
            said, chat_template=self._template, tokenize=False, add_generation_prompt=True
        )
        if kind == "video":
            return self._video(seen[0], text)
        cut = self._cutter(images=[one.frames[0] for one in seen], return_tensors="pt")
        sizes = [int(grid.prod()) // self._cutter.merge_size**2 for grid in cut["image_grid_thw"]]
        texts = [text.replace(IMAGE_PAD, IMAGE_PAD * size, 1) for size in sizes]
        return self._tokens(texts) | dict(cut)

    def _tokens(self, texts: list[str]) -> dict[str, Any]:
        found = self.tokenizer(texts, padding=True, return_tensors="pt")
        ids = found["input_ids"]
        number = self.tokenizer.convert_tokens_to_ids
        kinds = (ids == number(IMAGE_PAD)).int() + 2 * (ids == number(VIDEO_PAD)).int()
        return {"input_ids": ids, "attention_mask": found["attention_mask"], "mm_token_type_ids": kinds}

    def _video(self, clip: Seen, text: str) -> dict[str, Any]:
        cut = self._cutter(images=clip.frames, return_tensors="pt")
        grid = cut["image_grid_thw"][:1].clone()
        grid[0, 0] = len(clip.frames) // PAIR
        middles = [sum(clip.times[first : first + PAIR]) / PAIR for first in range(0, len(clip.times), PAIR)]
        each = int(grid[0, 1] * grid[0, 2]) // self._cutter.merge_size**2
        return {
            **self._tokens([self.with_places(text, each, middles)]),
            "pixel_values_videos": joined(cut["pixel_values"], len(clip.frames)),
            "video_grid_thw": grid,
            **self.tempo(clip.times),
        }

    def with_places(self, text: str, each: int, middles: list[float]) -> str:
        """Return the text with a place for every patch: `each` of them for every pair of frames."""
        return text.replace(VIDEO_PAD, VIDEO_PAD * (each * len(middles)), 1)

    def tempo(self, times: list[float]) -> dict[str, Any]:
        """Return what else the model wants to know about the frames' times in seconds."""
        del times
        return {}


class Qwen25(Qwen):
    """Qwen2.5-VL: learns the tempo of a video from the seconds between two patches."""

    model_class = "Qwen2_5_VLForConditionalGeneration"

    def tempo(self, times: list[float]) -> dict[str, Any]:
        """Return the seconds between two pairs of frames."""
        spans = max(1, len(set(times)) - 1)
        return {"second_per_grid_ts": [PAIR * max(times[-1] - times[0], 1e-3) / spans]}


class Qwen3(Qwen):
    """Qwen3-VL: reads the time of every pair of frames in the text."""

    model_class = "Qwen3VLForConditionalGeneration"

    def with_places(self, text: str, each: int, middles: list[float]) -> str:
        """Return the text with the time in front of every pair's places."""
        place = VISION_START + VIDEO_PAD * each + VISION_END
        places = "".join(f"<{middle:.1f} seconds>{place}" for middle in middles)
        return text.replace(VISION_START + VIDEO_PAD + VISION_END, places, 1)


FAMILIES: dict[str, type[Llava] | type[Qwen]] = {
    "llava": Llava,
    "qwen2_5_vl": Qwen25,
    "qwen3_vl": Qwen3,
}


def prepare(tokenizer: Any) -> None:  # noqa: ANN401 - a tokenizer
    """Make a tokenizer pad on the left, where generated text does not go on from."""
    tokenizer.padding_side = "left"
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token


def chat_template(folder: Path) -> str | None:
    """Return the chat template that lies beside a model for its processor, in either of its file forms."""
    plain, wrapped = folder / "chat_template.jinja", folder / "chat_template.json"
    if plain.is_file():
        return plain.read_text(encoding="utf-8")
    if wrapped.is_file():
        return str(json.loads(wrapped.read_text(encoding="utf-8"))["chat_template"])
    return None


def joined(patches: Any, frames: int) -> Any:  # noqa: ANN401 - tensors
    """Return the patches of a video from those of its frames.

    `patches` is (frames x places, channels x PAIR x pixels): the image processor repeats a picture PAIR times.
    The video's patches take the first repeat from the first frame of each pair and the second from the second.
    """
    each = patches.shape[0] // frames
    channels = 3
    parts = patches.view(frames // PAIR, PAIR, each, channels, PAIR, -1)
    own = parts.diagonal(dim1=1, dim2=4)  # (pairs, places, channels, pixels, PAIR)
    return own.permute(0, 1, 2, 4, 3).reshape(frames // PAIR * each, -1).contiguous()


class Captioner:
    """A loaded model with what prepares its inputs."""

    def __init__(self, request: dict[str, Any]) -> None:
        import torch
        import transformers

        transformers.utils.logging.disable_progress_bar()
        family = FAMILIES[request["family"]]
        kind = getattr(transformers, family.model_class, None)
        if kind is None:
            raise Failed("class", f"transformers {transformers.__version__} has no {family.model_class}")
        self._request = request
        self._device = torch.device(request["device"])
        self._reader = family(request["processor"])
        self._model = load(kind, request, self._device)
        taken = inspect.signature(self._model.forward).parameters
        # Tokenizers give them, and which models take them differs between the versions of transformers.
        self._untaken = {"token_type_ids", "mm_token_type_ids"} - taken.keys()

    def captions(self, seen: list[Seen]) -> list[tuple[str, bool]]:
        """Return a caption for each, and whether it is cut off at max_new_tokens."""
        import torch

        request = self._request
        made = self._reader.inputs(seen, request.get("system"), request["prompts"])
        made = {name: value for name, value in made.items() if name not in self._untaken}
        torch.manual_seed(request["seed"])
        with torch.inference_mode():
            found = self._model.generate(
                **{name: self._placed(value) for name, value in made.items()},
                max_new_tokens=request["max_new_tokens"],
                **request["generate"],
            )
        new = found[:, made["input_ids"].shape[1] :].cpu()
        texts = self._reader.tokenizer.batch_decode(new, skip_special_tokens=True)
        return [(text.strip(), self._is_cut(row)) for text, row in zip(texts, new.tolist(), strict=True)]

    def _placed(self, value: Any) -> Any:  # noqa: ANN401 - a tensor, or what is passed on as it is
        if not hasattr(value, "to"):
            return value
        return value.to(self._device, self._model.dtype if value.is_floating_point() else None)

    def _is_cut(self, tokens: list[int]) -> bool:
        ends = self._model.generation_config.eos_token_id
        known = set(ends if isinstance(ends, list) else [ends]) | {self._reader.tokenizer.eos_token_id}
        return len(tokens) >= self._request["max_new_tokens"] and not known & set(tokens)


def load(kind: Any, request: dict[str, Any], device: Any) -> Any:  # noqa: ANN401 - a model class and its model
    """Return the model on its device, in the number format of its file.

    Raises:
        Failed: there is no GPU, or the files are not a whole model of this class.
    """
    import torch

    if device.type == "cuda" and not torch.cuda.is_available():
        raise Failed("gpu", "torch finds no GPU")
    source, more = request["model"], {}
    if Path(source).is_file():
        from safetensors.torch import load_file
        from transformers import AutoConfig

        more = {
            "config": AutoConfig.from_pretrained(request["processor"], local_files_only=True),
            "state_dict": load_file(source),
        }
        source = None
    model, report = kind.from_pretrained(
        source,
        dtype="auto",
        device_map={"": str(device)},
        local_files_only=True,
        output_loading_info=True,
        **more,
    )
    missing = sorted(report["missing_keys"])
    if missing:
        raise Failed("weights", f"{len(missing)} of the model's tensors are missing, such as {missing[0]}")
    return model.eval()


# ---------------------------------------------------------------- the work


class Work:
    """Goes through the files of a request, a batch at a time."""

    def __init__(self, request: dict[str, Any], captioner: Captioner, voice: Voice) -> None:
        self._request = request
        self._captioner = captioner
        self._voice = voice
        self._limits = Limits(request["batch"], request["side"], request["frame_side"])
        self._done: set[str] = set()

    def run(self) -> None:
        """Say a caption or an error for every file.

        Raises:
            Failed: the memory is too small for a single file, or the GPU broke.
        """
        pending = list(self._request["files"])
        while pending:
            group = self._next(pending)
            if self._caption(group):
                if not self._limits.shrink(len(group)):
                    raise Failed("memory", "the memory ran out with a single small file")
                free_memory()
                self._voice.say(event="smaller", batch=self._limits.batch, side=self._limits.side)
            pending = [entry for entry in pending if entry["file"] not in self._done]

    def _next(self, pending: list[dict[str, str]]) -> list[dict[str, str]]:
        """Return the next files to look at together: a video goes alone."""
        if pending[0]["kind"] == "video":
            return pending[:1]
        ahead = pending[: self._limits.batch]
        return list(itertools.takewhile(lambda entry: entry["kind"] != "video", ahead))

    def _caption(self, group: list[dict[str, str]]) -> bool:
        """Say what became of each file of a group; True where the memory ran out before all were said."""
        seen = []
        for entry in group:
            try:
                seen.append(see(entry, self._limits, self._request["frames"]))
            except MemoryError:
                return True
            except Exception as error:
                self._say(entry["file"], error=why(error))
        return bool(seen) and self._describe(seen)

    def _say(self, file: str, **values: Any) -> None:  # noqa: ANN401 - any JSON value
        self._done.add(file)
        self._voice.say(file=file, **values)

    def _describe(self, seen: list[Seen]) -> bool:
        try:
            made = self._captioner.captions(seen)
        except Exception as error:
            if is_out_of_memory(error):
                return True
            if "CUDA error" in str(error):
                raise Failed("cuda", str(error).splitlines()[0]) from error
            if len(seen) == 1:
                self._say(seen[0].file, error=why(error))
                return False
            # Each by itself, so that only the bad one is lost; all of them, even where the memory runs out.
            alone = [self._describe([one]) for one in seen]
            return any(alone)
        for one, (text, cut) in zip(seen, made, strict=True):
            if text:
                self._say(one.file, caption=text, cut=cut)
            else:
                self._say(one.file, error="the model had nothing to say about it")
        return False


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether memory ran out, the GPU's or the machine's."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or "out of memory" in str(error).lower()
        or "can't allocate memory" in str(error).lower()
    )


def free_memory() -> None:
    """Give the GPU's unused memory back, now that the failed batch is gone."""
    import gc

    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def main(request_file: str) -> None:
    """Carry out the request."""
    voice = Voice()
    try:
        request = json.loads(Path(request_file).read_text(encoding="utf-8"))
        Path(request_file).unlink()  # so that none is left behind where both processes are killed
        began = time.monotonic()
        voice.say(event="loading")
        captioner = Captioner(request)
        voice.say(event="ready", seconds=round(time.monotonic() - began, 1))
        Work(request, captioner, voice).run()
    except Failed as failure:
        give_up(voice, failure.kind, str(failure))
    except Exception as error:
        import traceback

        traceback.print_exc()
        kind = "memory" if is_out_of_memory(error) else "model"
        give_up(voice, kind, f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")


def give_up(voice: Voice, kind: str, message: str) -> NoReturn:
    """Say why and end the process."""
    voice.say(event="failed", kind=kind, message=message)
    raise SystemExit(FAILED)


if __name__ == "__main__":
    main(sys.argv[1])
