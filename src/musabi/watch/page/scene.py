"""What the run page looks at and acts in: one workspace, one pod, and who may change something."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from musabi.children import secrets
from musabi.errors import RequestError
from musabi.pod.places import PodPlaces
from musabi.pod.state_dir import found_places
from musabi.settings import Settings, load
from musabi.workspace import Workspace


@dataclass(frozen=True)
class Scene:
    """`environ` is what verbs are started with; `problem` says what is wrong with its variables, if something is.

    `key` must come with every change. Where `login` is set a browser must bring it for every page, too, in a
    cookie; behind JupyterLab's proxy JupyterLab has asked for its own token already. `jupyter_root` is the folder
    whose files JupyterLab hands out there, under ../files/. `memory` holds what views have read already, so that a
    look every two seconds reads only what is new.
    """

    settings: Settings
    places: PodPlaces
    environ: Mapping[str, str] = field(repr=False)
    key: str = field(repr=False)
    login: bool = True
    problem: str | None = None
    jupyter_root: Path | None = None
    memory: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def space(self) -> Workspace:
        """The workspace's folders."""
        return self.settings.space

    @property
    def thumbnails(self) -> Path:
        """Where small pictures are kept, on the container's disk: all that the page keeps of its own."""
        return self.places.state_dir / "thumbnails"

    @property
    def hidden(self) -> tuple[str, ...]:
        """Values that no page may show."""
        return (*secrets(self.environ), self.key)


def scene_of(environ: Mapping[str, str], key: str, *, login: bool, jupyter_root: Path | None = None) -> Scene:
    """Return the scene that the environment describes, even where a variable in it is wrong."""
    places = found_places(environ)
    try:
        return Scene(load(environ), places, environ, key, login, jupyter_root=jupyter_root)
    except RequestError as problem:
        known = {name: environ[name] for name in ("WORKSPACE", "MUSABI_STATE_DIR") if environ.get(name)}
        return Scene(load(known), places, environ, key, login, str(problem), jupyter_root)
