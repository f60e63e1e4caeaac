"""The page behind a proxy that strips a path prefix and ends every request after a few seconds."""

from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from musabi.pod.places import PodPlaces
from peers.cutting_proxy import PREFIX, cutting_proxy
from small.page_server import PageServer, Window

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("run-page-browser")]
CUT_SECONDS = 2.0


def report(root: Path, text: str) -> None:
    """Write the boot report of the workspace's pod."""
    import json

    file = PodPlaces(Path(f"{root}-state")).report
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"made": 1.0, "rows": [{"name": "GPU", "state": "ok", "text": text}]}))


def test_the_page_goes_on_over_streams_that_are_cut(
    pictured: PageServer, look: Callable[..., Window]
) -> None:
    report(pictured.root, "A first look.")
    with cutting_proxy(urlsplit(pictured.address).port or 0, CUT_SECONDS) as proxy:
        query = pictured.login.partition("?")[2]
        seen = look(pictured, address=f"{proxy.address}?{query}")
        seen.allow("ERR_INCOMPLETE_CHUNKED_ENCODING")
        page = seen.page
        page.get_by_text("A first look.").wait_for()
        assert urlsplit(page.url).path == f"{PREFIX}/" and "token" not in page.url
        for number in range(2):
            report(pictured.root, f"Look number {number}.")
            page.get_by_text(f"Look number {number}.").wait_for()
            page.wait_for_timeout(1200)
        assert proxy.cuts >= 1
        reconnections = proxy.reconnections()
        assert reconnections and all("report=" in one for one in reconnections)


def test_every_page_its_files_and_its_changes_work_behind_a_prefix(
    pictured: PageServer, look: Callable[..., Window]
) -> None:
    with cutting_proxy(urlsplit(pictured.address).port or 0, 60) as proxy:
        page = look(pictured, address=f"{proxy.address}?{pictured.login.partition('?')[2]}").page
        for title in page.get_by_role("navigation", name="Pages").get_by_role("link").all_inner_texts():
            page.get_by_role("link", name=title, exact=True).first.click()
            page.get_by_role("heading", name=title, level=1).wait_for()
            assert urlsplit(page.url).path.startswith(f"{PREFIX}/")
        page.get_by_role("link", name="Dataset", exact=True).click()
        field = page.get_by_role("textbox", name="Caption of robot0.png")
        field.fill("written behind a prefix")
        field.blur()
        page.get_by_text("Caption of robot0.png saved").wait_for(state="attached")
        image = page.get_by_role("article").first.locator("img")
        page.wait_for_function("(one) => one.complete && one.naturalWidth > 0", arg=image.element_handle())
        page.goto("about:blank")  # before the proxy goes
    assert (
        pictured.root / "dataset" / "images" / "robot0.txt"
    ).read_text().strip() == "written behind a prefix"


def test_a_server_that_has_gone_is_told_and_one_that_is_back_is_shown(
    pictured: PageServer, look: Callable[..., Window]
) -> None:
    report(pictured.root, "Before the break.")
    with cutting_proxy(urlsplit(pictured.address).port or 0, 60) as proxy:
        seen = look(pictured, address=f"{proxy.address}?{pictured.login.partition('?')[2]}")
        seen.allow("Failed to load resource")
        page = seen.page
        page.get_by_text("Before the break.").wait_for()
        right, proxy.target = proxy.target, 1
        proxy.cut_all()
        page.get_by_text("The pod does not answer.").wait_for()
        proxy.target = right
        report(pictured.root, "After the break.")
        page.get_by_text("After the break.").wait_for()
        page.get_by_text("The pod does not answer.").wait_for(state="hidden")


def test_a_page_of_an_earlier_start_is_told_where_to_look(
    pictured: PageServer, bare: Path, serve: Callable[..., PageServer], look: Callable[..., Window]
) -> None:
    with cutting_proxy(urlsplit(pictured.address).port or 0, 60) as proxy:
        seen = look(pictured, address=f"{proxy.address}?{pictured.login.partition('?')[2]}")
        seen.allow("Failed to load resource")
        seen.page.get_by_role("heading", name="Pod", exact=True).wait_for()
        proxy.target = urlsplit(serve(bare).address).port or 0  # it has another key
        proxy.cut_all()
        seen.page.get_by_text(
            "The run page was started again. Open the address that musabi page printed"
        ).wait_for()
        seen.page.goto("about:blank")  # before the proxy goes
