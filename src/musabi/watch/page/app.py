"""The run page as an ASGI application: a page each view, its live parts, its verbs, and the files it needs.

Every address is one level deep and every link relative, so that the page works behind any prefix.
"""

import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import anyio
from markupsafe import escape
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from musabi.children import scrub
from musabi.dataset.incoming import printable
from musabi.errors import MusabiError, RequestError
from musabi.job.os_errors import DISK_FULL, plain_os_error
from musabi.watch.page import live
from musabi.watch.page.doing import Doing, Task
from musabi.watch.page.gate import App, Gate, Receive, Scope, Send
from musabi.watch.page.html import hiding, render
from musabi.watch.page.json_body import json_of
from musabi.watch.page.scene import Scene
from musabi.watch.page.view import View
from musabi.watch.page.views import VIEWS

STATIC = Path(__file__).parent / "static"
KINDS = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
MOST_TOLD = 500
"""Letters of what broke, in the server's log: a name in an address may be as long as anything."""
DOING = "doing"
"""The part that every page has: the verbs that were started here."""


def make_app(scene: Scene, views: tuple[View, ...] = VIEWS) -> Gate:
    """Return the application for one workspace."""
    page = Page(scene, views)
    routes = [
        Route("/static/{name}", page.static),
        Route("/live", page.live),
        Route("/do", page.do, methods=["POST"]),
        Route("/health", page.health),
        *(Route(f"/{view.name}", partial(page.show, view)) for view in views),
        Route("/", partial(page.show, views[0])),
        *(route for view in views for route in view.routes),
    ]
    app = Starlette(
        routes=routes,
        middleware=[Middleware(Hiding, hidden=scene.hidden)],
        exception_handlers={404: page.missing, Exception: page.broken, MusabiError: page.refused},
    )
    app.state.scene = scene
    app.state.doing = page.doing
    return Gate(app, scene.key, login=scene.login)


class Hiding:
    """Middleware: no template shows a secret, whichever address makes HTML of it."""

    def __init__(self, app: App, hidden: tuple[str, ...]) -> None:
        self._app = app
        self._hidden = hidden

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with hiding(self._hidden):
            await self._app(scope, receive, send)


class Page:
    """Answers what all views share."""

    def __init__(self, scene: Scene, views: tuple[View, ...]) -> None:
        self.scene = scene
        self.views = {view.name: view for view in views}
        self.verbs = {name: verb for view in views for name, verb in view.verbs.items()}
        self.doing = Doing(scene.environ, scene.hidden)
        self.files = {file.name for file in STATIC.iterdir() if file.suffix in KINDS}
        self.hidden = scene.hidden
        self.told: set[str] = set()

    async def show(self, view: View, request: Request) -> Response:
        """Answer with a whole page."""
        query = dict(request.query_params)
        return html_response(await anyio.to_thread.run_sync(partial(self._page, view, query)))

    async def live(self, request: Request) -> Response:
        """Answer with the events of the page that `page` names; its other query is the page's own."""
        query = dict(request.query_params)
        view = self.views.get(query.pop("page", ""))
        if view is None:
            raise RequestError("There is no such page.")
        parts = partial(self.parts, view, query)
        events = live.stream(parts, request.headers.get("last-event-id", ""), request.is_disconnected)
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        return StreamingResponse(events, media_type="text/event-stream", headers=headers)

    async def do(self, request: Request) -> Response:
        """Carry out a verb: {"verb": NAME, ...}. What it said is the answer."""
        given = await json_of(request)
        verb = self.verbs.get(str(given.get("verb")))
        if verb is None:
            raise RequestError("The page asked for something that this server does not know. Load it again.")
        words = await anyio.to_thread.run_sync(verb.argv, self.scene, given)
        begin = self.doing.start if verb.long else self.doing.do
        task = await anyio.to_thread.run_sync(begin, verb.title, words, verb.done)
        return JSONResponse(as_json(task, self.scene), 200 if not task.code else 422)

    async def static(self, request: Request) -> Response:
        """Answer with a file of the page itself."""
        name = request.path_params["name"]
        file = STATIC / name
        if name not in self.files:
            return PlainTextResponse("There is no such file.\n", 404)
        return FileResponse(file, media_type=KINDS[file.suffix], headers={"cache-control": "no-cache"})

    async def health(self, _request: Request) -> Response:
        """Answer that the server is up."""
        return JSONResponse({"status": "ok"})

    async def refused(self, request: Request, problem: Exception) -> Response:
        """Answer in words where a request is wrong, or the machine can't."""
        text = shown(scrub(str(problem), self.scene.hidden))
        if request.method in ("GET", "HEAD"):
            return PlainTextResponse(text + "\n", 404)
        return JSONResponse({"ok": False, "message": text}, 422)

    async def missing(self, request: Request, _problem: Exception) -> Response:
        """Answer where no page has that address."""
        places = ", ".join(name for name, view in self.views.items() if view.in_menu)
        text = f"There is no such page. There are: {places}."
        if request.method in ("GET", "HEAD"):
            return PlainTextResponse(text + "\n", 404)
        return JSONResponse({"ok": False, "message": text}, 404)

    async def broken(self, request: Request, problem: Exception) -> Response:
        """Answer where something unexpected happened: the page must say so, whatever a file held."""
        reading = request.method in ("GET", "HEAD")
        said = plain_os_error(problem) if isinstance(problem, OSError) else f"{type(problem).__name__}."
        if isinstance(problem, OSError) and problem.errno in DISK_FULL:
            said = "The disk is full. Make room, then try again."
        begins = "This can't be shown" if reading else "This could not be done"
        text = shown(scrub(f"{begins}: {said}", self.hidden))
        told = scrub(f"{request.url.path[:80]}: {type(problem).__name__}: {problem}", self.hidden)
        print(f"run page: {printable(told[:MOST_TOLD])}", flush=True)
        if reading:
            return PlainTextResponse(text + "\n", 500)
        return JSONResponse({"ok": False, "message": text}, 500)

    def parts(self, view: View, query: Mapping[str, str]) -> dict[str, str]:
        """Return a view's live parts, and the verbs at work."""
        made = {name: self._part(name, view, query) for name in view.parts}
        return made | {DOING: render("doing", {"tasks": self.doing.tasks[:6], "now": time.time()})}

    def _part(self, name: str, view: View, query: Mapping[str, str]) -> str:
        try:
            return view.parts[name](self.scene, query)
        except MusabiError as problem:
            return render("problem", {"message": str(problem)})
        except Exception as problem:  # whatever a file held: the other parts are shown all the same
            self._tell_once(f"{view.name} {name}: {type(problem).__name__}", problem)
            return render("problem", {"message": f"This can't be shown: {type(problem).__name__}."})

    def _tell_once(self, what: str, problem: Exception) -> None:
        if what not in self.told:  # a part is made every two seconds
            self.told.add(what)
            print(f"run page: {printable(scrub(f'{what}: {problem}', self.hidden)[:MOST_TOLD])}", flush=True)

    def _page(self, view: View, query: Mapping[str, str]) -> str:
        parts = self.parts(view, query)
        values: dict[str, Any] = {"problem": None}
        with_problem: str | None = None
        try:
            values |= view.values(self.scene, query)
        except MusabiError as problem:
            with_problem = str(problem)
        return render(
            view.name if with_problem is None else "refused",
            values
            | {
                "view": view,
                "menu": [one for one in self.views.values() if one.in_menu],
                "parts": parts,
                "hashes": {name: live.hash_of(html) for name, html in parts.items()},
                "key": escape(self.scene.key),  # the page's own script needs it
                "workspace": str(self.scene.space.root),
                "problem": with_problem or self.scene.problem,
                "query": query,
            },
        )


def html_response(text: str) -> Response:
    """Return a page."""
    return Response(shown(text), media_type="text/html; charset=utf-8")


def shown(text: str) -> str:
    """Return the text as it can be sent: lone surrogates of odd file names become question marks."""
    return text.encode("utf-8", "replace").decode()


def as_json(task: Task, scene: Scene) -> dict[str, Any]:
    """Return what became of a verb."""
    lines = [scrub(line, scene.hidden) for line in task.lines]
    return {
        "ok": not task.code,
        "id": task.id,
        "message": task.message,
        "lines": lines,
        "over": task.code is not None,
    }
