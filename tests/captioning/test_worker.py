"""The worker with models of the real classes: random weights, so the words mean nothing, but the way is true."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from musabi.captioning import looking, worker

from .conftest import Models, draw, film

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("captioning")]
FAMILIES = ("llava", "qwen2_5_vl", "qwen3_vl")


class Heard:
    """Hears what the worker says, in the place of its pipe."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def say(self, **values: Any) -> None:
        self.lines.append(values)

    @property
    def captions(self) -> dict[str, str]:
        return {Path(one["file"]).name: one["caption"] for one in self.lines if "caption" in one}

    @property
    def errors(self) -> dict[str, str]:
        return {Path(one["file"]).name: one["error"] for one in self.lines if "error" in one}

    @property
    def events(self) -> list[str]:
        return [one["event"] for one in self.lines if "event" in one]


class StandInForASmallGpu:
    """The real captioner on a GPU that holds so many pictures of so many pixels, and no more."""

    def __init__(self, real: worker.Captioner, most: int, pixels: int) -> None:
        self._real, self._most, self._pixels = real, most, pixels

    def captions(self, seen: list[worker.Seen]) -> list[tuple[str, bool]]:
        largest = max(frame.width * frame.height for one in seen for frame in one.frames)
        if len(seen) > self._most or largest > self._pixels:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return self._real.captions(seen)


def request(models: Models, family: str, files: list[Path], **more: Any) -> dict[str, Any]:
    folder = str(models.of(family))
    kinds = {".mkv": "video", ".mp4": "video"}
    return {
        "family": family,
        "model": folder,
        "processor": folder,
        "device": "cpu",
        "system": None,
        "prompts": {"image": "a man", "video": "a red dog walks"},
        "generate": {"do_sample": False},
        "max_new_tokens": 8,
        "batch": 2,
        "side": 256,
        "frames": 8,
        "frame_side": 128,
        "seed": 42,
        "files": [{"file": str(file), "kind": kinds.get(file.suffix, "image")} for file in files],
    } | more


def run(values: dict[str, Any], gpu: tuple[int, int] | None = None) -> Heard:
    heard = Heard()
    captioner: Any = worker.Captioner(values)
    worker.Work(values, StandInForASmallGpu(captioner, *gpu) if gpu else captioner, heard).run()  # type: ignore[arg-type]
    return heard


@pytest.mark.parametrize("family", FAMILIES)
def test_bad_files_are_named_and_the_others_captioned(models: Models, family: str, tmp_path: Path) -> None:
    good = [draw(tmp_path / "a.png", (200, 0, 0)), draw(tmp_path / "b.jpg", (0, 0, 250), (64, 128))]
    (tmp_path / "no.png").write_bytes(b"no picture")
    (tmp_path / "torn.jpg").write_bytes(good[1].read_bytes()[:400])
    bad = [tmp_path / "no.png", tmp_path / "torn.jpg", tmp_path / "gone.png"]
    heard = run(request(models, family, [good[0], *bad, good[1]]))
    assert heard.errors == {"no.png": "is not an image", "torn.jpg": "is cut off", "gone.png": "is not there"}
    assert sorted(heard.captions) == ["a.png", "b.jpg"]
    assert all(heard.captions.values())


@pytest.mark.parametrize("family", FAMILIES[1:])
def test_a_video_gets_one_caption(models: Models, family: str, tmp_path: Path) -> None:
    clip = film(tmp_path / "clip.mkv", list(range(0, 240, 10)))
    (tmp_path / "torn.mkv").write_bytes(clip.read_bytes()[:300])
    picture = draw(tmp_path / "a.png", (200, 0, 0))
    heard = run(request(models, family, [picture, clip, tmp_path / "torn.mkv"]))
    assert sorted(heard.captions) == ["a.png", "clip.mkv"]
    assert list(heard.errors) == ["torn.mkv"]


def test_a_picture_is_seen_upright_and_no_larger_than_the_limit(tmp_path: Path) -> None:
    from PIL import Image

    file = tmp_path / "a.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its side
    Image.new("RGB", (800, 400)).save(file, exif=exif)
    seen = worker.see({"file": str(file), "kind": "image"}, worker.Limits(1, 200, 100), 8)
    assert seen.frames[0].size == (141, 282)


def test_frames_are_spread_over_a_video_two_a_second_in_pairs(tmp_path: Path) -> None:
    clip = film(tmp_path / "clip.mkv", list(range(0, 240, 10)), rate=8)  # three seconds
    frames, times = looking.video_frames(str(clip), 32)
    assert len(frames) == len(times) == 6
    assert times[0] == 0 and times[-1] == pytest.approx(23 / 8, abs=0.01)
    assert [frame.getpixel((5, 5))[0] for frame in frames] == [round(time * 8) * 10 for time in times]
    short, stamps = looking.video_frames(str(film(tmp_path / "short.mkv", [0, 50, 100])), 32)
    assert len(short) == 4 and stamps[-1] == stamps[-2]


def test_a_pair_of_frames_becomes_one_patch_in_time(models: Models, tmp_path: Path) -> None:
    levels = [0, 80, 160, 240]
    clip = film(tmp_path / "clip.mkv", levels)
    seen = worker.see({"file": str(clip), "kind": "video"}, worker.Limits(1, 256, 256), 32)
    made = worker.Qwen3(str(models.qwen3)).inputs([seen], None, {"image": "", "video": "a dog"})
    grid = made["video_grid_thw"][0].tolist()
    patches = made["pixel_values_videos"].view(
        2, grid[1] * grid[2], 3, 2, 16 * 16
    )  # pairs, places, RGB, time
    plain = patches.mean(dim=(1, 2, 4))
    assert grid[0] == 2
    assert torch.equal(patches.amax(dim=(1, 4)), patches.amin(dim=(1, 4)))
    order = plain.flatten()
    assert (order[1:] > order[:-1]).all()  # each frame in its own slot, in its order
    tokens = worker.Qwen3(str(models.qwen3)).tokenizer
    pads = (made["input_ids"] == tokens.convert_tokens_to_ids("<|video_pad|>")).sum().item()
    assert pads == grid[0] * grid[1] * grid[2] // 4


def test_joycaption_s_text_begins_with_its_first_token_once(models: Models, tmp_path: Path) -> None:
    seen = worker.see(
        {"file": str(draw(tmp_path / "a.png", (9, 9, 9))), "kind": "image"}, worker.Limits(1, 256, 256), 8
    )
    reader = worker.Llava(str(models.llava))
    made = reader.inputs([seen], "a man", {"image": "a dog"})
    assert made["input_ids"][0].tolist().count(reader.tokenizer.bos_token_id) == 1


def test_joycaption_s_caption_is_what_its_classes_say(models: Models, tmp_path: Path) -> None:
    from PIL import Image
    from transformers import AutoProcessor, LlavaForConditionalGeneration

    picture = draw(tmp_path / "a.png", (10, 200, 30))
    processor = AutoProcessor.from_pretrained(models.llava)
    model = LlavaForConditionalGeneration.from_pretrained(models.llava)
    text = processor.apply_chat_template([{"role": "user", "content": "a man"}], add_generation_prompt=True)
    made = processor(text=[text], images=[Image.open(picture)], add_special_tokens=False, return_tensors="pt")
    made.pop("token_type_ids", None)
    tokens = model.generate(**made, max_new_tokens=8, do_sample=False)[0, made["input_ids"].shape[1] :]
    expected = processor.tokenizer.decode(tokens, skip_special_tokens=True).strip()
    assert run(request(models, "llava", [picture])).captions == {"a.png": expected}


def test_too_little_memory_means_fewer_and_then_smaller_pictures(models: Models, tmp_path: Path) -> None:
    files = [draw(tmp_path / f"{n}.png", (n * 20, 0, 0), (400, 400)) for n in range(3)]
    heard = run(request(models, "qwen3_vl", files, batch=2, side=512), gpu=(1, 300 * 300))
    assert heard.events == ["smaller", "smaller", "smaller"]
    assert sorted(heard.captions) == [file.name for file in files]
    with pytest.raises(worker.Failed) as told:
        run(request(models, "qwen3_vl", files[:1], batch=1, side=300), gpu=(1, 100 * 100))
    assert told.value.kind == "memory"


def test_one_picture_that_the_model_can_t_take_does_not_cost_its_batch(
    models: Models, tmp_path: Path
) -> None:
    sliver = draw(tmp_path / "sliver.png", (1, 1, 1), (60_000, 2))  # wider than 200 times its height
    files = [draw(tmp_path / "a.png", (9, 0, 0)), sliver, draw(tmp_path / "b.png", (0, 9, 0))]
    heard = run(request(models, "qwen2_5_vl", files, batch=3, side=4096))
    assert sorted(heard.captions) == ["a.png", "b.png"]
    assert "aspect ratio" in heard.errors["sliver.png"]


def test_a_model_that_lacks_tensors_is_not_run_with_random_ones(models: Models, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(models.qwen3, tmp_path / "model")
    file = folder / "model.safetensors"
    kept = {name: value for name, value in load_file(file).items() if "layers.1.mlp.up_proj" not in name}
    save_file(kept, file, metadata={"format": "pt"})
    values = request(models, "qwen3_vl", []) | {"model": str(folder)}
    with pytest.raises(worker.Failed, match="up_proj") as told:
        worker.Captioner(values)
    assert told.value.kind == "weights"


def test_weights_in_a_single_file_say_the_same_as_their_folder(models: Models, tmp_path: Path) -> None:
    picture = draw(tmp_path / "a.png", (10, 200, 30))
    whole = request(models, "qwen2_5_vl", [picture])
    single = whole | {"model": str(models.qwen25 / "model.safetensors")}
    assert run(single).captions == run(whole).captions
