"""The grid as a PNG: what stands in its cells."""

from pathlib import Path
from typing import Any

import pytest

from musabi.errors import RequestError
from musabi.grid.drawing import draw_grid
from musabi.grid.layout import Group

pytest.importorskip("PIL")
pytest.importorskip("av")

GROUPS = [Group("Without LoRA", ("",)), Group("Final", ("0.6", "1"))]
RED, BLUE = (200, 30, 30), (30, 30, 200)


def picture(path: Path, color: tuple[int, int, int], size: tuple[int, int] = (32, 32)) -> Path:
    from PIL import Image

    Image.new("RGB", size, color).save(path)
    return path


def video(path: Path) -> Path:
    """Four frames, the first of them red, the others blue."""
    import av
    import numpy as np

    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("mpeg4", rate=8)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for color in (RED, BLUE, BLUE, BLUE):
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), color, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def colors(path: Path) -> dict[str, int]:
    """Count the pixels that are about red, about blue and the grey of an empty cell."""
    import numpy as np
    from PIL import Image

    pixels = np.asarray(Image.open(path).convert("RGB"), dtype=int)

    def near(color: tuple[int, int, int]) -> int:
        return int((abs(pixels - np.array(color)).max(axis=2) < 25).sum())

    return {"red": near(RED), "blue": near(BLUE), "grey": int((pixels == 0xE4).all(axis=2).sum())}


def test_pictures_and_first_frames_fill_their_cells(tmp_path: Path) -> None:
    cells = {
        (0, 0): picture(tmp_path / "a.png", RED),
        (0, 1): picture(tmp_path / "b.png", BLUE, (200, 200)),
        (0, 2): video(tmp_path / "c.mp4"),
    }
    target = tmp_path / "new" / "grid.png"
    assert draw_grid(GROUPS, [("a cat", "seed 42")], cells, 100, target) == []
    found = colors(target)
    assert (found["red"], found["blue"]) == (20_000, 10_000) and found["grey"] < 100  # of letters' edges
    assert [path.name for path in target.parent.iterdir()] == ["grid.png"]


def test_missing_and_broken_cells_stay_grey_and_the_broken_are_named(tmp_path: Path) -> None:
    whole = picture(tmp_path / "whole.png", RED).read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "empty.png").write_bytes(b"")
    cells = {
        (0, 0): tmp_path / "cut.png",
        (0, 1): tmp_path / "text.mp4",
        (0, 2): tmp_path / "whole.png",
        (1, 0): tmp_path / "empty.png",
    }
    target = tmp_path / "grid.png"
    rows = [("a cat", "seed 42"), ("穿红色连衣裙的女孩", "seed 7")]
    assert draw_grid(GROUPS, rows, cells, 100, target) == [(0, 0), (0, 1), (1, 0)]
    found = colors(target)
    assert found["red"] == 10_000 and 40_000 < found["grey"] <= 50_000


def test_a_grid_that_would_be_too_large_is_refused(tmp_path: Path) -> None:
    groups = [Group(f"Epoch {number}", ("1",)) for number in range(20)]
    with pytest.raises(RequestError, match="--cell 128"):
        draw_grid(groups, [("p", "")] * 20, {}, 1024, tmp_path / "grid.png")
    assert not (tmp_path / "grid.png").exists()
