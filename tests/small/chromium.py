"""Headless Chromium on real pages, driven by Playwright; also from within a container's network."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
)


def why_not() -> str | None:
    """Return why no browser can be driven here, or None."""
    if not CHROMIUM.exists():
        return "needs Debian's chromium: apt-get install chromium"
    return None if find_spec("playwright") else "needs the package playwright: scripts/setup.sh dev"


@contextmanager
def chromium(folder: Path, beside: int | None = None) -> Iterator[Any]:
    """Yield a browser; with `beside`, one in the network namespace of that process. `folder` is for scratch."""
    from playwright.sync_api import sync_playwright

    program = CHROMIUM
    if beside is not None:
        program = folder / "chromium-beside"
        program.write_text(f'#!/bin/sh\nexec nsenter -t {beside} -n {CHROMIUM} "$@"\n')
        program.chmod(0o755)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=str(program), args=list(ARGUMENTS), timeout=60_000
        )
        try:
            yield browser
        finally:
            browser.close()


def too_wide(page: Any) -> list[str]:
    """Return the elements that reach beyond the page's right edge."""
    found: list[str] = page.evaluate(
        """() => [...document.querySelectorAll("body *")]
            .filter((e) => !e.closest(".scroll") && e.getBoundingClientRect().right > innerWidth + 0.5)
            .map((e) => e.tagName + "." + e.className)"""
    )
    width = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    return found + ([f"the page, by {width} px"] if width > 0 else [])
