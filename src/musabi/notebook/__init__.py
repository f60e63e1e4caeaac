"""What the notebook's cells call: thin functions over the package and the command line's verbs.

Long work runs in processes of its own, so that it outlives the cell, its tab and the kernel. Errors are shown
as their message, and the cells after them do not run.
"""

from musabi.notebook.bringing import bring_in
from musabi.notebook.chosen import choose
from musabi.notebook.files import convert, downloads
from musabi.notebook.pictures import check, losses, samples
from musabi.notebook.pod import keep, status, stop_pod
from musabi.notebook.runs import prepare, stop_run, train

__all__ = [
    "bring_in",
    "check",
    "choose",
    "convert",
    "downloads",
    "keep",
    "losses",
    "prepare",
    "samples",
    "status",
    "stop_pod",
    "stop_run",
    "train",
]
