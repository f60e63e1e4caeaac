"""What a run's trainer wrote and its runner said, as it comes; secrets are taken out by whoever sends it."""

import json
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from musabi.children import scrub
from musabi.errors import RequestError
from musabi.watch.page.html import render
from musabi.watch.page.run_shown import progress_of, remember, shown_run
from musabi.watch.page.scene import Scene
from musabi.watch.page.stamp import stamp_of
from musabi.watch.page.view import Query
from musabi.watch.status_words import progress_words

LINES = 200
TAIL_BYTES = 256_000
LONGEST_LINE = 2_000
MOST_SAID = 6
# Colours and cursor moves of a terminal (ECMA-48, 5.4), and what else is no text.
_CODES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def log_part(scene: Scene, query: Query) -> str:
    """Return the end of the run's log, and what its runner said."""
    shown = shown_run(scene, query.get("id", ""))
    said = list(progress_of(scene, shown.folder).messages)[-MOST_SAID:]
    lines = remember(
        scene, ("log", shown.id), stamp_of(shown.folder.log_file), lambda: tail(shown.folder.log_file)
    )
    return render("run_log", {"lines": lines, "said": said})


def tail(path: Path, most: int = LINES) -> list[str]:
    """Return the last lines of a log; of a line that was written over again and again, as a bar is, the last state."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            begin = max(0, size - TAIL_BYTES)
            file.seek(begin)
            text = file.read().decode("utf-8", errors="replace")
    except OSError:
        return []
    lines = text.split("\n")
    if begin and len(lines) > 1:
        lines = lines[1:]  # cut off at its beginning
    said = (state for line in reversed(lines) if (state := last_state(line)))
    return [in_words(line)[:LONGEST_LINE] for line in islice(said, most)][::-1]


def in_words(line: str) -> str:
    """Return a line as people read it: the embedded trainer writes its progress as JSON."""
    if not line.startswith('{"phase"'):
        return line
    try:
        event = json.loads(line)
    except ValueError:
        return line
    if isinstance(event.get("file"), str):
        return f"{event.get('kind') or 'file'}: {event['file']}"
    return str(event.get("message") or progress_words(event) or line)


def last_state(line: str) -> str:
    """Return what stands in a terminal's line in the end."""
    states = [part for part in line.split("\r") if part.strip()]
    state = states[-1] if states else ""
    return (state if state.isprintable() else _CODES.sub("", state)).rstrip()


def take_log(request: Request) -> Response:
    """Answer with the whole log as text to save, without secrets.

    Raises:
        RequestError: the run wrote none.
    """
    scene: Scene = request.app.state.scene
    shown = shown_run(scene, request.query_params.get("id", ""))
    if not shown.folder.log_file.is_file():
        raise RequestError("This run wrote no log.")
    name = re.sub(r"[^\w.-]", "_", shown.id, flags=re.ASCII)
    headers = {"content-disposition": f'attachment; filename="{name}.log.txt"'}
    return StreamingResponse(
        whole(shown.folder.log_file, scene.hidden), media_type="text/plain; charset=utf-8", headers=headers
    )


def whole(path: Path, hidden: tuple[str, ...]) -> Iterator[str]:
    """Yield a log line by line, however long it is, without the `hidden` values."""
    with path.open(encoding="utf-8", errors="replace", newline="\n") as file:
        for line in file:
            yield scrub(line.replace("\r", "\n"), hidden)


ROUTES = (Route("/run-log", take_log),)
