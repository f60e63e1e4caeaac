"""`python -m musabi.pod.boot.settings_check`: which variables can't be right, as one line of JSON.

The boot asks this beside JupyterLab's start. A value is {variable: message}.
"""

import json
import os
from collections.abc import Mapping

from musabi.errors import RequestError
from musabi.settings import load


def wrong_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what is wrong with each variable that `load` refuses."""
    left, wrong = dict(environ), dict[str, str]()
    while True:
        try:
            load(left)
            return wrong
        except RequestError as problem:
            name = str(problem).split(" ", 1)[0]
            wrong[name] = str(problem)
            if left.pop(name, None) is None:  # nothing more can be found out
                return wrong


if __name__ == "__main__":
    print(json.dumps(wrong_variables(os.environ)))
