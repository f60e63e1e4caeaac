"""What the page does to the pod: keep, stop or delete it, and set its workspace up."""

from musabi.errors import RequestError
from musabi.pod.stopping.provider import NOT_A_POD
from musabi.pod.stopping.run_here import running_folders
from musabi.watch.page.scene import Scene
from musabi.watch.page.view import Given, Verb

HOURS = ("1", "2", "4", "8", "24")


def keep(_scene: Scene, given: Given) -> list[str]:
    """Return the arguments that keep the pod for the hours that were chosen.

    Raises:
        RequestError: the hours are none that the page offers.
    """
    hours = str(given.get("hours", HOURS[0]))
    if hours not in HOURS:
        raise RequestError(f"The pod can be kept for {', '.join(HOURS[:-1])} or {HOURS[-1]} hours.")
    return ["pod", "keep", "--hours", hours]


def stop(scene: Scene, given: Given) -> list[str]:
    """Return the arguments that stop the pod.

    Raises:
        RequestError: this is no pod, or something runs and is not to be ended.
    """
    return _end("stop", scene, given)


def delete(scene: Scene, given: Given) -> list[str]:
    """Return the arguments that delete the pod.

    Raises:
        RequestError: this is no pod, or something runs and is not to be ended.
    """
    return _end("delete", scene, given)


def bootstrap(_scene: Scene, _given: Given) -> list[str]:
    """Return the arguments that set the workspace up."""
    return ["bootstrap"]


def _end(action: str, scene: Scene, given: Given) -> list[str]:
    if not scene.settings.runpod_pod_id:
        raise RequestError(f"{NOT_A_POD} Stop this machine the way you started it.")
    force = given.get("force") is True
    names = [run.path.name for run in running_folders(scene.space)]
    if names and not force:
        raise RequestError(
            f"{' and '.join(names)} still {'runs' if len(names) == 1 else 'run'}. "
            'Tick "End what runs first" if that may be cut short.'
        )
    return ["pod", action, "--yes", *(["--force"] if force else [])]


VERBS = {
    "pod-keep": Verb("Keep the pod", keep, done="The pod is kept."),
    "pod-stop": Verb("Stop the pod", stop, long=True, done="Runpod accepted it. The pod ends in a moment."),
    "pod-delete": Verb(
        "Delete the pod", delete, long=True, done="Runpod accepted it. The pod ends in a moment."
    ),
    "pod-bootstrap": Verb("Set the workspace up", bootstrap, long=True, done="The workspace is set up."),
}
