"""The report as a browser shows it: nothing overflows, pictures and charts appear, light and dark differ."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from musabi.watch.report import write_report

_spec = importlib.util.spec_from_file_location("watch_browser", Path(__file__).with_name("browser.py"))
assert _spec is not None
assert _spec.loader is not None
browser = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(browser)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not browser.CHROMIUM.exists(), reason="needs Debian's chromium: apt-get install chromium"
    ),
]
LONG = "W" * 300 + "_" + "<b>" * 40


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
def test_the_page_fits_its_width(full_world: Any, tmp_path: Path, width: int, dark: bool) -> None:
    full_world.add_image("z.png", LONG)
    full_world.record(versions={"long": LONG}, message=LONG)
    picture = tmp_path / f"report-{width}-{'dark' if dark else 'light'}.png"
    seen = browser.look(write_report(full_world.run), width, dark=dark, screenshot=picture)
    assert seen["inner"] == width
    assert seen["scroll"] == width
    assert seen["wide"] == []
    assert seen["broken"] == 0
    assert seen["images"] == 10 + 2 * 6
    assert seen["charts"] == 3
    assert seen["background"] == ("rgb(20, 23, 26)" if dark else "rgb(250, 249, 246)")
    assert picture.stat().st_size > 10_000
