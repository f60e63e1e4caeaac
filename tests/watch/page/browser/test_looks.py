"""How every page looks: nothing reaches over the edge, axe-core finds nothing serious, no console complains.

MUSABI_PICTURES names a folder to keep a screenshot of every page in, at three widths, light and dark.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from musabi.watch.page.views import VIEWS
from small.page_server import PageServer, Window
from small.shown_workspace import fill_shown

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("run-page-browser")]
WIDTHS = (1440, 1024, 400)
CHECKED = (1440, 400)
PAGES = {
    "pod": "pod",
    "dataset": "dataset",
    "train": "train",
    "runs": "runs?chosen=run-1,run-0",
    "run": "run?id=run-1",
    "compare": "compare?run=run-1",
    "endpoint": "endpoint",
}
SERIOUS = ("serious", "critical")
NAME_THE_ROOT = """(root) => {
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) walker.currentNode.data = walker.currentNode.data.replaceAll(root, "/workspace");
}"""
OVER_THE_EDGE = """() => [
  ...[...document.querySelectorAll("body *")].filter((one) => one.getBoundingClientRect().right > innerWidth + 0.5)
    .filter((one) => {
      for (let above = one; above !== document.body; above = above.parentElement) {
        const style = getComputedStyle(above);
        if (style.overflowX !== "visible" || style.position === "fixed" || above.closest("svg")) return false;
      }
      return true;
    }).map((one) => "over the edge: " + one.outerHTML.slice(0, 120)),
  ...(document.documentElement.scrollWidth > innerWidth ? ["the page scrolls sideways"] : []),
]"""


def test_every_page_is_looked_at() -> None:
    assert {view.name for view in VIEWS} <= set(PAGES)


@pytest.fixture
def shown(
    world: Any, training_rows: Callable[..., Any], tiny_models: Path,
    serve: Callable[..., PageServer], small: dict[str, str], tmp_path_factory: pytest.TempPathFactory,
) -> PageServer:  # fmt: skip
    """The page of a workspace with everything in it."""
    standing = fill_shown(world, tmp_path_factory.mktemp("pod"), training_rows, time.time())
    (world.root / "models").symlink_to(tiny_models / "models")
    environ = small | standing.environ | {"TRIGGER_WORD": "ohwx", "RUNPOD_POD_ID": "abc123"}
    del environ["OUTPUT_NAME"]
    return serve(world.root, **environ)


def complaints(page: Any, *, dark: bool) -> list[str]:
    """Return what axe-core finds serious; in the dark that only differs in its colours."""
    from axe_playwright_python.sync_playwright import Axe

    rules: dict[str, Any] = {"runOnly": ["color-contrast"]} if dark else {}
    found = Axe().run(page, options={"resultTypes": ["violations"]} | rules).response["violations"]
    return [
        f"{one['id']} ({one['impact']}): {one['help']}: {[node['html'][:160] for node in one['nodes'][:3]]}"
        for one in found
        if one["impact"] in SERIOUS
    ]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_every_page_fits_and_can_be_read(shown: PageServer, look: Callable[..., Window], dark: bool) -> None:
    pytest.importorskip("axe_playwright_python")
    keep = os.environ.get("MUSABI_PICTURES")
    wrong: dict[str, list[str]] = {}
    seen = look(shown, dark=dark)
    for name, address in PAGES.items():
        if name == "train":  # with a plan; what refuses one is seen on the page before
            (shown.root / "dataset" / "images" / "robot_11.txt").write_text(
                "ohwx robot on a green background"
            )
        seen.page.goto(shown.address + address)
        if name == "train":
            seen.page.locator("#command").wait_for(timeout=60_000)
        seen.page.wait_for_timeout(1000 if keep else 400)  # charts and thumbnails are fetched
        for width in WIDTHS if keep else CHECKED:
            seen.page.set_viewport_size({"width": width, "height": 900})
            seen.page.wait_for_timeout(300 if keep else 50)
            if keep:
                Path(keep).mkdir(parents=True, exist_ok=True)
                file = Path(keep) / f"{name}-{width}-{'dark' if dark else 'light'}.png"
                seen.page.evaluate(NAME_THE_ROOT, str(shown.root))
                seen.page.screenshot(path=str(file), full_page=True)
                seen.page.screenshot(path=str(file.with_name(f"first-{file.name}")))
            if width in CHECKED:
                found = [
                    *seen.page.evaluate(OVER_THE_EDGE),
                    *complaints(seen.page, dark=dark),
                ]
                wrong |= {f"{name} {width}": found} if found else {}
        assert "can't be shown" not in seen.page.get_by_role("main").inner_text(), name
    assert "\n".join(f"{where}: {one}" for where, found in wrong.items() for one in found) == ""
