"""Headless Chromium on one page, in a frame that is exactly as wide as asked for.

A window of headless Chromium can't be narrower than 500 pixels, so the page is held in an `<iframe srcdoc>`:
its media queries see the frame's width, and the page around it can measure what lies inside.
"""

import html
import json
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

CHROMIUM = Path("/usr/bin/chromium")

WRAPPER = """<!doctype html><meta charset="utf-8">
<style>
body {{ margin: 0 }}
iframe {{ border: 0; display: block; width: {width}px; height: {height}px }}
</style>
<iframe id="page" srcdoc="{page}"></iframe><script type="application/json" id="found"></script>
<script>
addEventListener("load", () => {{
  const frame = document.getElementById("page"), doc = frame.contentDocument, root = doc.documentElement;
  const wide = [...doc.querySelectorAll("body *")].filter(
    (e) => e.getBoundingClientRect().right > {width} + 0.5 && !e.closest(".scroll") && !e.closest("svg"));
  const look = (e) => frame.contentWindow.getComputedStyle(e);
  document.getElementById("found").textContent = JSON.stringify({{
    inner: frame.contentWindow.innerWidth, scroll: root.scrollWidth, height: root.scrollHeight,
    wide: wide.map((e) => e.tagName + "." + e.className), background: look(doc.body).backgroundColor,
    images: [...doc.images].filter((i) => i.naturalWidth > 0).length,
    broken: [...doc.images].filter((i) => i.naturalWidth === 0).length,
    charts: [...doc.querySelectorAll("svg")].filter((e) => e.getBoundingClientRect().width > 0).length,
    scripts: doc.scripts.length, title: doc.title,
  }});
}});
</script>"""


def look(page: Path, width: int, *, dark: bool, screenshot: Path, height: int = 1000) -> dict[str, Any]:
    """Show `page` in a frame `width` x `height` pixels large; save a PNG and return what was measured."""
    source = html.escape(page.read_text(encoding="utf-8"), quote=True)
    with tempfile.TemporaryDirectory() as folder:
        wrapper = Path(folder) / "wrapper.html"
        wrapper.write_text(WRAPPER.format(width=width, height=height, page=source), encoding="utf-8")
        dump = _chromium(Path(folder), wrapper, dark, "--dump-dom")
        _chromium(
            Path(folder),
            wrapper,
            dark,
            f"--screenshot={screenshot}",
            f"--window-size={max(width, 500)},{height}",
        )
    found = re.search(r'id="found">(.*?)</script>', dump, re.DOTALL)
    assert found, dump[-2000:]
    measured: dict[str, Any] = json.loads(found[1])
    return measured


def _chromium(folder: Path, page: Path, dark: bool, *arguments: str) -> str:
    command = [
        str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--hide-scrollbars", "--disable-dev-shm-usage", "--virtual-time-budget=3000",
        f"--user-data-dir={folder / 'profile'}",
        f"--blink-settings=preferredColorScheme={0 if dark else 1}", *arguments, page.as_uri(),
    ]  # fmt: skip
    ran = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    assert ran.returncode == 0, ran.stderr[-2000:]
    return ran.stdout
