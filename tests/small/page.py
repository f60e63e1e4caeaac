"""The run page without a browser: a scene of a folder, a client that behaves as a page's own script does."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from musabi.pod.places import PodPlaces
from musabi.settings import load
from musabi.watch.page.app import make_app
from musabi.watch.page.scene import Scene
from musabi.watch.page.view import View

KEY = "the-key-of-a-test"
HOST = "127.0.0.1:4321"


def make_scene(folder: Path, *, login: bool = False, problem: str | None = None, **environ: str) -> Scene:
    """Return the scene of the workspace `folder`/ws; more variables by name."""
    (folder / "ws").mkdir(exist_ok=True)
    known = {"WORKSPACE": str(folder / "ws"), "MUSABI_STATE_DIR": str(folder / "state")}
    return Scene(load(known), PodPlaces(folder / "state"), known | environ, KEY, login, problem)


def plain_view(**more: Any) -> View:
    """Return a view that shows a heading only; its parts live all the same."""
    return View("refused", "Plain", **more)


class Browser:
    """Asks an application as a browser does that shows its page. `last` answers are whole, errors too."""

    def __init__(self, scene: Scene, views: tuple[View, ...], host: str = HOST) -> None:
        self.client = TestClient(
            make_app(scene, views),
            base_url=f"http://{host}",
            raise_server_exceptions=False,
            follow_redirects=False,
        )
        self.own = {"origin": f"http://{host}", "x-musabi-key": KEY}

    def get(self, path: str, **headers: str) -> Any:
        return self.client.get(path, headers=headers)

    def change(self, path: str, body: Any, headers: Mapping[str, str] | None = None) -> Any:
        """POST as the page's own script does, or with `headers` in place of its own."""
        return self.client.post(path, json=body, headers=dict(self.own if headers is None else headers))
