"""The sheet as a browser shows it: nothing overflows, pictures appear, light and dark differ."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from musabi.dataset.check import check
from musabi.dataset.sheet import write_sheet

sync_api = pytest.importorskip("playwright.sync_api")
CHROMIUM = Path("/usr/bin/chromium")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM.exists(), reason="needs Debian's chromium: apt-get install chromium"),
]
LONG = "W" * 300 + "<b>" * 40


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as running:
        opened = running.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1280])
def test_the_sheet_fits_its_width(folder: Any, tmp_path: Path, browser: Any, width: int, scheme: str) -> None:
    folder.add("a.png", (300, 200), caption=LONG)
    folder.add("b.png", (300, 200))
    folder.add(f"{'c' * 90}.png", (64, 64), color="white")
    folder.add("d.png").write_bytes(b"broken")
    folder.add("e.Jpg")
    sheet = tmp_path / "sheet.html"
    write_sheet(check(folder.config()), sheet)
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(sheet.as_uri())
    page.screenshot(path=str(tmp_path / f"sheet-{width}-{scheme}.png"), full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.evaluate("[...document.images].filter((one) => one.complete && one.naturalWidth).length") == 6
    assert (
        page.evaluate("getComputedStyle(document.body).backgroundColor")
        == {
            "light": "rgb(250, 249, 246)",
            "dark": "rgb(20, 23, 26)",
        }[scheme]
    )
    assert "can't be trained on yet" in page.inner_text("header")
    assert LONG in page.inner_text("main")
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    page.close()
