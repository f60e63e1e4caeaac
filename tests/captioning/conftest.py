"""Tiny captioning models of the real classes, made once a session, and pictures and a video to caption."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

from small.captioning_models import make_llava, make_qwen3, make_qwen25

os.environ["OMP_NUM_THREADS"] = "1"
HAS_MODELS = find_spec("torch") is not None and find_spec("transformers") is not None
if not HAS_MODELS:  # the extra [diffusers] is not installed
    collect_ignore = ["test_worker.py", "test_asked.py", "test_stopping.py"]


@dataclass(frozen=True)
class Models:
    """The folders of the tiny models."""

    llava: Path
    qwen25: Path
    qwen3: Path

    def of(self, family: str) -> Path:
        return {"llava": self.llava, "qwen2_5_vl": self.qwen25, "qwen3_vl": self.qwen3}[family]


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    root = tmp_path_factory.mktemp("captioning-models")
    return Models(make_llava(root / "llava"), make_qwen25(root / "qwen25"), make_qwen3(root / "qwen3"))


@pytest.fixture(autouse=True)
def _nothing_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in [name for name in os.environ if name.startswith(("CAPTION_", "TRIGGER_"))]:
        monkeypatch.delenv(name)
    yield


def draw(file: Path, colour: tuple[int, int, int], size: tuple[int, int] = (96, 64)) -> Path:
    """Write a picture of one colour."""
    from PIL import Image

    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(file)
    return file


def film(file: Path, levels: list[int], rate: int = 8) -> Path:
    """Write a video whose frames are plain greys of these levels (0 to 255), lossless."""
    import av
    import numpy as np

    with av.open(str(file), "w") as out:
        stream = out.add_stream("ffv1", rate=rate)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "bgr0"
        for level in levels:
            grey = np.full((64, 96, 3), level, np.uint8)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
        out.mux(stream.encode())
    return file
