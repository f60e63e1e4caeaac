"""Two tabs on one caption: nothing that somebody wrote is lost in silence."""

from collections.abc import Callable
from typing import Any

import pytest

from small.page_server import PageServer, Window

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("run-page-browser")]


def caption(page: Any, name: str) -> Any:
    """Return the field of a picture's caption."""
    return page.get_by_role("textbox", name=f"Caption of {name}")


@pytest.fixture
def tabs(pictured: PageServer, look: Callable[..., Window]) -> tuple[Window, Window]:
    """Two tabs on a dataset of five pictures."""
    pair = look(pictured), look(pictured)
    for one in pair:
        one.page.get_by_role("link", name="Dataset", exact=True).click()
        caption(one.page, "robot0.png").wait_for()
    return pair


def test_the_second_to_save_is_shown_what_the_first_wrote(
    tabs: tuple[Window, Window], pictured: PageServer
) -> None:
    one, other = tabs
    other.allow("409")
    caption(one.page, "robot1.png").fill("the first tab's words")
    caption(other.page, "robot1.png").fill("the second tab's words")
    caption(one.page, "robot1.png").blur()
    one.page.get_by_text("Caption of robot1.png saved").wait_for(state="attached")
    caption(other.page, "robot1.png").blur()
    other.page.get_by_text("Changed elsewhere meanwhile.").wait_for()
    assert other.page.get_by_text("the first tab's words").first.is_visible()
    assert caption(other.page, "robot1.png").input_value() == "the second tab's words"
    file = pictured.root / "dataset" / "images" / "robot1.txt"
    assert file.read_text().strip() == "the first tab's words"


def test_what_one_tab_saved_the_other_shows_by_itself(tabs: tuple[Window, Window]) -> None:
    one, other = tabs
    caption(one.page, "robot2.png").fill("seen by both")
    caption(one.page, "robot2.png").blur()
    other.page.wait_for_function(
        "() => [...document.querySelectorAll('textarea')].some((one) => one.value === 'seen by both')"
    )


def test_what_is_being_written_is_not_taken_away(tabs: tuple[Window, Window], pictured: PageServer) -> None:
    one, _ = tabs
    caption(one.page, "robot3.png").click()
    caption(one.page, "robot3.png").press_sequentially("half a sen")
    file = pictured.root / "dataset" / "images" / "robot4.txt"
    file.with_suffix(".new").write_text("changed by another program")
    file.with_suffix(".new").replace(file)
    one.page.wait_for_function(
        "() => [...document.querySelectorAll('textarea')].some((one) => one.value.includes('another program'))"
    )
    caption(one.page, "robot3.png").press_sequentially("tence")
    assert "half a sentence" in caption(one.page, "robot3.png").input_value()
