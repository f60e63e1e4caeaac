"""A dataset of 2,000 images: the grid is there soon, scrolls through, and asks for no picture that is not seen."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from small.page_server import PageServer, Window

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("run-page-browser")]
IMAGES = 2000
SCROLL = """async () => {
  const gaps = [];
  let last = performance.now();
  for (let turn = 0; turn < 60; turn += 1) {
    scrollBy(0, 400);
    await new Promise((done) => requestAnimationFrame(done));
    gaps.push(performance.now() - last);
    last = performance.now();
  }
  return gaps.sort((one, other) => one - other);
}"""


def many_pictures(folder: Path) -> None:
    """Write 2,000 small pictures of two shapes, each with a caption."""
    folder.mkdir(parents=True, exist_ok=True)
    sizes = [(96, 64), (64, 96)]
    for number in range(IMAGES):
        colour = (number % 256, number // 8 % 256, 90)
        Image.new("RGB", sizes[number % 2], colour).save(folder / f"photo{number:04d}.jpg")
        (folder / f"photo{number:04d}.txt").write_text(f"ohwx photo number {number}")


def test_2000_images_scroll(
    bare: Path, serve: Callable[..., PageServer], look: Callable[..., Window]
) -> None:
    many_pictures(bare / "dataset" / "images")
    seen = look(serve(bare))
    page = seen.page
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/thumb" in request.url else None)
    begun = time.monotonic()
    page.get_by_role("link", name="Dataset", exact=True).click()
    page.get_by_role("textbox", name="Caption of photo0000.jpg").wait_for()
    first = time.monotonic() - begun
    page.wait_for_timeout(500)
    assert first < 5, f"the first caption was there after {first:.1f} s"
    assert len(asked) < 200, f"{len(asked)} thumbnails were asked for before anybody scrolled"
    gaps = page.evaluate(SCROLL)
    middle = gaps[len(gaps) // 2]
    assert middle < 100, f"a frame took {middle:.0f} ms in the middle while scrolling"
    page.get_by_role("searchbox", name="Search in captions and names").fill("number 1999")
    page.get_by_role("textbox", name="Caption of photo1999.jpg").wait_for()
    page.wait_for_function(
        "() => { const one = document.querySelector('article img'); return one.complete && one.naturalWidth > 0; }"
    )
