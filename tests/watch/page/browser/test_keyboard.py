"""The page by keyboard alone, and as a screen reader has it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from small.model import draw_images
from small.page_server import PageServer, Window

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("run-page-browser")]
MOST_TABS = 60
FOCUSED = """() => {
  const one = document.activeElement;
  const style = getComputedStyle(one);
  return {
    name: (one.ariaLabel || one.labels?.[0]?.textContent || one.textContent || "").trim(),
    seen: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0,
    tag: one.tagName,
  };
}"""


def tab_to(page: Any, name: str, key: str = "Tab") -> None:
    """Press Tab until what has the focus is called so; it must be seen that it has it, all the way."""
    for _ in range(MOST_TABS):
        page.keyboard.press(key)
        focused = page.evaluate(FOCUSED)
        if focused["tag"] != "BODY":
            assert focused["seen"], f"nothing shows that {focused} has the focus"
        if focused["name"].startswith(name):
            return
    raise AssertionError(f"{name} can't be reached with {key}")


def test_the_menu_and_a_caption_without_a_mouse(pictured: PageServer, look: Callable[..., Window]) -> None:
    page = look(pictured).page
    page.keyboard.press("Tab")
    assert page.evaluate(FOCUSED)["name"] == "Skip to the page"
    tab_to(page, "Dataset")
    page.keyboard.press("Enter")
    page.get_by_role("textbox", name="Caption of robot1.png").wait_for()
    page.get_by_role("textbox", name="Caption of robot0.png").focus()
    page.keyboard.press("Control+a")
    page.keyboard.type("typed without a mouse")
    page.keyboard.press("Control+Enter")
    page.get_by_text("Caption of robot0.png saved").wait_for(state="attached")
    assert page.evaluate(FOCUSED)["name"] == "Caption of robot1.png"
    file = pictured.root / "dataset" / "images" / "robot0.txt"
    assert file.read_text().strip() == "typed without a mouse"


def test_the_form_of_a_training_without_a_mouse(
    workspace: Path, small: dict[str, str], serve: Callable[..., PageServer], look: Callable[..., Window]
) -> None:
    draw_images(workspace / "dataset" / "images")
    page = look(serve(workspace, **small)).page
    tab_to(page, "Train")
    page.keyboard.press("Enter")
    page.get_by_label("Name of the LoRA").wait_for()
    tab_to(page, "Name of the LoRA")
    page.keyboard.type("by-keyboard")
    tab_to(page, "Epochs")
    page.keyboard.type("3")
    page.get_by_label("Command").get_by_text("by-keyboard").first.wait_for()
    tab_to(page, "Start")
    page.keyboard.press("Shift+Tab")
    assert page.evaluate(FOCUSED)["tag"] != "BODY"


def test_skipping_the_menu_leads_to_the_page(pictured: PageServer, look: Callable[..., Window]) -> None:
    page = look(pictured).page
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("() => document.querySelector('main').contains(document.activeElement)")
