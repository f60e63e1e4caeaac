"""What a request brought without captions gets them: by whom, how far it is told, what is said where it fails."""

import dataclasses
import json
import os
import threading
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from musabi.captioning.models import BY_NAME
from musabi.errors import MachineError, RequestError
from musabi.serverless.captions import (
    bring_model,
    caption_missing,
    captioner_for,
    needs_musubi_tuner,
    settings_of,
)
from musabi.serverless.context import Context, Stopped
from musabi.serverless.delivery.updates import Updates
from musabi.serverless.job_folder import JobFolder
from musabi.serverless.parts import BroughtDataset, EngineChoice
from musabi.serverless.phases.bring_dataset import as_json
from musabi.serverless.phases.caption import run
from musabi.serverless.places import Places
from musabi.serverless.request.model import read_request
from musabi.serverless.settings import load
from peers.loopback_hub import running_hub
from peers.standin_gemini import KEY, StandinGemini, blocked, running_gemini, said
from small.captioning_models import make_llava

needs_models = pytest.mark.skipif(
    find_spec("torch") is None or find_spec("transformers") is None,
    reason="the extra [diffusers] is not installed",
)


@dataclasses.dataclass
class Job:
    """A job with a dataset, and what it said."""

    root: Path
    lines: list[str] = dataclasses.field(default_factory=list)
    progress: list[dict[str, Any]] = dataclasses.field(default_factory=list)

    @property
    def folder(self) -> JobFolder:
        return JobFolder(self.root / "jobs" / "one")

    @property
    def updates(self) -> list[tuple[str, dict[str, Any]]]:
        """Return the updates that the job has written, without the first, which is of its beginning."""
        files = sorted(self.folder.updates.glob("*_*.json"))
        values = [json.loads(file.read_text()) for file in files]
        return [(one["status"], one["data"]) for one in values if one["status"] != "INITIALIZED"]

    def picture(self, name: str, level: int = 90) -> Path:
        file = self.folder.images / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (96, 64), (level, 0, 0)).save(file)
        return file

    def film(self, name: str, level: int = 90) -> Path:
        file = self.folder.videos / name
        file.parent.mkdir(parents=True, exist_ok=True)
        with av.open(str(file), "w") as out:
            stream = out.add_stream("libx264", rate=8)
            stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
            for _ in range(4):
                grey = np.full((64, 96, 3), level, np.uint8)
                out.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
            out.mux(stream.encode())
        return file

    def context(
        self, caption_with: str | None = None, secrets: dict[str, str] | None = None, **environ: str
    ) -> Context:
        dataset = {"type": "both", "trigger_word": "ohwx", "caption_with": caption_with}
        urls = {f"{kind}_url": "https://example.com/x.zip" for kind in ("images", "videos")}
        request = read_request(
            {"model_type": "wan13", "dataset": dataset | urls, "output": {"method": "volume"}},
            secrets={"api_keys.gemini_api_key": "for the form"},
        )
        inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        whole = inherited | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""} | environ
        return Context(
            folder=self.folder,
            job_id="one",
            request=request,
            choice=EngineChoice("diffusers", "z-image", "Z-Image", "it is asked for"),
            secrets=secrets or {},
            environ=whole,
            settings=load(whole),
            places=Places(self.root, self.root / "volume"),
            updates=Updates.of(request, secrets or {}, self.folder, whole, self._say),
            stop=threading.Event(),
            say=self._say,
        )

    def _say(self, text: str) -> None:
        self.lines.append(text)
        self.progress.append(self.folder.progress() or {})


def brought(*files: Path) -> BroughtDataset:
    return BroughtDataset(None, None, uncaptioned=files)


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(tmp_path)


@pytest.fixture
def gemini() -> Iterator[StandinGemini]:
    with running_gemini() as running:
        yield running


def by_gemini(job: Job, gemini: StandinGemini, **more: Any) -> Context:
    return job.context(secrets={"api_keys.gemini_api_key": KEY}, GEMINI_URL=gemini.url + "/", **more)


@pytest.fixture(scope="module")
def llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_llava(tmp_path_factory.mktemp("models") / "llava")


@pytest.mark.slow
@pytest.mark.xdist_group("captioning")
@needs_models
def test_images_are_captioned_on_the_worker_and_what_can_t_be_is_named(job: Job, llava: Path) -> None:
    files = [job.picture(f"{number}.png", 40 * number) for number in range(4)]
    files[1].with_suffix(".txt").write_text("made before the job was interrupted")
    files[2].write_bytes(b"no picture")
    context = job.context(
        CAPTION_MODEL_PATH=str(llava), CAPTION_PREFIX="of a pod's job", OPTIMIZER="nonsense"
    )
    with pytest.raises(RequestError, match=r"^2\.png is not an image\. The other 2 captions are kept"):
        caption_missing(context, brought(*files))
    assert files[1].with_suffix(".txt").read_text() == "made before the job was interrupted"
    made = [files[number].with_suffix(".txt").read_text() for number in (0, 3)]
    assert all(text.strip() and "ohwx" not in text and "of a pod" not in text for text in made)
    assert not files[2].with_suffix(".txt").exists()
    assert job.updates == [("CAPTIONING", {"message": "Captioning images", "files": 4})]
    files[2].unlink()
    assert caption_missing(context, brought(*files[:2], files[3])) == 3  # nothing is made twice
    assert [file.with_suffix(".txt").read_text() for file in (files[0], files[3])] == made


@pytest.mark.slow
@pytest.mark.xdist_group("captioning")
@needs_models
def test_a_job_that_is_ended_ends_the_captioner(job: Job, llava: Path) -> None:
    files = [job.picture(f"{number}.png") for number in range(3)]
    context = job.context(CAPTION_MODEL_PATH=str(llava), MUSABI_TEST_MARK=str(job.root))
    threading.Timer(0.7, context.stop.set).start()
    began = time.monotonic()
    with pytest.raises(Stopped):
        caption_missing(context, brought(*files))
    assert time.monotonic() - began < 10
    mark = f"MUSABI_TEST_MARK={job.root}".encode()
    assert not [entry for entry in Path("/proc").glob("[0-9]*") if mark in _environ(entry)]


def _environ(entry: Path) -> bytes:
    try:
        return (entry / "environ").read_bytes()
    except OSError:
        return b""


def test_videos_go_to_gemini_and_their_captions_are_told_of(job: Job, gemini: StandinGemini) -> None:
    files = [job.film(f"{number}.mp4", 40 * number) for number in range(3)]
    files[0].with_suffix(".txt").write_text("mine\n")
    context = by_gemini(job, gemini)
    assert caption_missing(context, brought(*files)) == 3
    assert [file.with_suffix(".txt").read_text() for file in files] == [
        "mine\n",
        "A grey square that grows brighter.\n",
        "A grey square that grows brighter.\n",
    ]
    assert job.updates == [("CAPTIONING", {"message": "Captioning videos", "files": 3})]
    first = job.progress[0]
    assert (first["phase"], first["message"], first["step"], first["steps"]) == (
        "captions",
        "Captioning videos",
        1,
        3,
    )
    assert job.lines == ["Captioning videos: 2 files, by gemini"]
    assert gemini.kept == [] and caption_missing(context, brought(*files)) == 3
    assert gemini.calls["start"] == 2  # the second time there was nothing to do


def test_the_phase_puts_the_trigger_word_in_front_of_every_caption_once(
    job: Job, gemini: StandinGemini
) -> None:
    files = [job.film("a.mp4"), job.film("b.mp4")]
    gemini.answer = lambda _sent: said("A grey square, ohwx.")
    came = BroughtDataset(None, job.folder.videos, video_count=2, uncaptioned=tuple(files))
    for _ in range(2):
        assert run(by_gemini(job, gemini), {"dataset": as_json(came)}) == {"captioned": 2}
    assert {file.with_suffix(".txt").read_text() for file in files} == {"ohwx, A grey square, ohwx.\n"}


def test_a_clip_that_got_no_caption_fails_the_job_by_its_name(job: Job, gemini: StandinGemini) -> None:
    files = [job.film(name, level) for name, level in (("a.mp4", 10), ("b.mp4", 90), ("c.mkv", 200))]
    content = files[1].read_bytes()
    gemini.answer = lambda sent: blocked("SAFETY") if sent == content else said("A grey square.")
    with pytest.raises(RequestError) as problem:
        caption_missing(by_gemini(job, gemini), brought(*files))
    assert str(problem.value).startswith("b.mp4 is not described by Gemini (SAFETY).")
    assert str(problem.value).endswith("The other 2 captions are kept for /retry.")
    assert sorted(file.name for file in job.folder.videos.glob("*.txt")) == ["a.txt", "c.txt"]
    gemini.answer = lambda _sent: blocked("SAFETY")
    for file in job.folder.videos.glob("*.txt"):
        file.unlink()
    with pytest.raises(RequestError, match=r"2 more got none: \w\.m.., \w\.m..\.$"):
        caption_missing(by_gemini(job, gemini), brought(*files))


def test_the_key_is_nowhere_on_the_disk_or_in_the_log(job: Job, gemini: StandinGemini) -> None:
    gemini.fail("generate", 403, f"Consumer 'api_key:{KEY}' has been suspended")
    with pytest.raises(RequestError) as problem:
        caption_missing(by_gemini(job, gemini), brought(job.film("a.mp4")))
    written = [file.read_bytes() for file in job.root.rglob("*") if file.is_file()]
    assert len(written) > 1 and not any(KEY.encode() in content for content in written)
    assert KEY not in f"{problem.value!r} {job.lines} {job.updates}"


def test_a_job_that_is_ended_leaves_gemini(job: Job, gemini: StandinGemini) -> None:
    gemini.slow_s = 30
    context = by_gemini(job, gemini)
    threading.Timer(0.5, context.stop.set).start()
    began = time.monotonic()
    with pytest.raises(Stopped):
        caption_missing(context, brought(job.film("a.mp4")))
    assert time.monotonic() - began < 10
    assert gemini.kept == [] and list(job.folder.videos.glob("*.txt")) == []


@pytest.mark.parametrize(
    ("kind", "named", "key", "own", "who"),
    [
        ("image", None, "", None, "joycaption"),
        ("image", None, "", "qwen2.5-vl", "qwen2.5-vl"),
        ("image", "qwen3-vl", "", None, "qwen3-vl"),
        ("image", "gemini", KEY, None, "joycaption"),
        ("video", None, KEY, None, "gemini"),
        ("video", "gemini", KEY, None, "gemini"),
        ("video", "joycaption", KEY, None, "gemini"),
        ("video", None, "", None, "qwen3-vl"),
        ("video", "joycaption", "", None, "qwen3-vl"),
        ("video", "qwen2.5-vl", KEY, None, "qwen2.5-vl"),
        ("video", "gemini", "", None, None),
        ("image", None, "", "blip", None),
    ],
)
def test_who_captions(
    job: Job, kind: Any, named: str | None, key: str, own: str | None, who: str | None
) -> None:
    secrets = {"api_keys.gemini_api_key": key} if key else {}
    context = job.context(named, secrets, **({"ENDPOINT_CAPTIONER": own} if own else {}))
    if who is None:
        with pytest.raises(RequestError, match=r"gemini_api_key is required|ENDPOINT_CAPTIONER is \"blip\""):
            captioner_for(context, kind)
    else:
        assert captioner_for(context, kind) == who


def test_a_model_that_runpod_cached_is_used_where_it_lies(job: Job) -> None:
    row = BY_NAME["joycaption"]
    context = job.context(OPTIMIZER="what would set a job on a pod")
    repo = job.root / "volume" / "huggingface-cache" / "hub" / f"models--{row.repo.replace('/', '--')}"
    _model_at(repo / "snapshots" / "abc")
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text("abc")
    assert bring_model(context, row, settings_of(context, row)).model == repo / "snapshots" / "abc"


def test_a_model_that_is_not_there_is_fetched_with_the_request_s_token(job: Job) -> None:
    row = BY_NAME["joycaption"]
    files = {file.name: file.read_bytes() for file in _model_at(job.root / "repo").iterdir()}
    with running_hub() as hub:
        hub.add(row.repo, files)
        context = job.context(
            secrets={"api_keys.huggingface_token": "hf_of_the_request"}, HF_ENDPOINT=hub.url
        )
        found = bring_model(context, row, settings_of(context, row))
        # The client itself asks for some things without a token.
        assert {seen.authorization for seen in hub.seen} - {None} == {"Bearer hf_of_the_request"}
    assert found.model.is_relative_to(job.root / "cache" / "huggingface" / "hub")
    assert bring_model(context, row, settings_of(context, row)) == found
    assert sum(line.startswith("Fetching ") for line in job.lines) == 1
    assert not any(
        b"hf_of_the_request" in file.read_bytes() for file in job.root.rglob("*") if file.is_file()
    )
    assert (job.folder.progress() or {})["message"] == f"Downloading {row.title}"


def test_without_the_trainer_s_environment_it_is_said(job: Job) -> None:
    model = _model_at(job.root / "own")
    context = dataclasses.replace(
        job.context(CAPTION_MODEL_PATH=str(model)),
        choice=EngineChoice("musubi", "qwen-image", "Qwen Image", ""),
    )
    with pytest.raises(MachineError, match="musubi-tuner's environment"):
        caption_missing(context, brought(job.picture("a.png")))


def test_a_worker_without_musubi_tuner_s_environment_gets_it_before_a_model_captions(job: Job) -> None:
    film, picture = job.film("a.mp4"), job.picture("a.png")
    for file, engine, secrets, wanted in (
        (picture, "musubi", {}, True),
        (film, "diffusion_pipe", {}, True),
        (film, "diffusion_pipe", {"api_keys.gemini_api_key": KEY}, False),
        (picture, "diffusers", {}, False),
    ):
        context = dataclasses.replace(
            job.context(secrets=secrets), choice=EngineChoice(engine, "qwen-image", "Qwen Image", "")
        )
        assert needs_musubi_tuner(context, brought(file)) is wanted
    refusing = dataclasses.replace(
        job.context(ENDPOINT_INSTALL_TRAINERS="0"), choice=EngineChoice("musubi", "qwen-image", "Qwen", "")
    )
    with pytest.raises(MachineError, match=r"Captioning needs musubi-tuner.*ENDPOINT_INSTALL_TRAINERS=1"):
        run(refusing, {"dataset": as_json(brought(picture))})


def _model_at(folder: Path) -> Path:
    """Write what passes for a whole LLaVA by its files: nothing loads it."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"model_type": "llava"}')
    (folder / "tokenizer_config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    return folder
