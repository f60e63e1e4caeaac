"""Cells about the pod itself: how it stands, stop it, keep it."""

from musabi.notebook.chosen import environment, settings
from musabi.notebook.jupyter import status_url
from musabi.notebook.output import say, show
from musabi.notebook.plain import cell
from musabi.notebook.verbs import ask
from musabi.pod.state_dir import found_places
from musabi.watch.status import Status
from musabi.watch.status_html import cell as as_cell


@cell
def status() -> None:
    """Show how the pod stands: what to do next, the boot report, the bootstrap and the newest run.

    Example: musabi.status()
    """
    show(
        as_cell(
            Status(settings(), found_places(environment())).look(), ("next", "report", "bootstrap", "run")
        )
    )
    url = status_url(found_places(environment()))
    if url:
        show(f'<a href="{url}" target="_blank">Open the status page, which keeps itself up to date</a>')


@cell
def stop_pod(confirm: bool = False, force: bool = False) -> None:
    """Stop the pod, so that its GPU is not paid for any more; what lies in the workspace stays.

    Only with `confirm`. `force` ends a run that goes on first; it saves what it can.

    Example: musabi.stop_pod(confirm=True)
    """
    if confirm is not True:
        say("Nothing was stopped. To stop the pod, write musabi.stop_pod(confirm=True) and run this cell.")
        return
    ask("pod", "stop", "--yes", *(["--force"] if force else []))
    say("Runpod accepted it: the pod ends in a moment.")


@cell
def keep(hours: float = 1.0) -> None:
    """Call an announced stop of the pod off, for so many hours.

    Example: musabi.keep(2)
    """
    from musabi.pod.stopping.keep import keep as keep_pod
    from musabi.pod.stopping.keep import keep_words

    for line in keep_words(keep_pod(settings(), hours)):
        say(line)
