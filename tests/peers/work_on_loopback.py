"""The process that does a job of the endpoint, with names of a test's own: `python work_on_loopback.py JOB_FOLDER`.

MUSABI_TEST_HOSTS holds a JSON object of names and loopback servers: {"files.example": "http://127.0.0.1:4711"}.
Each name gets an address that looks public, and connections there go to its server; any other is refused. The
product has no such switch: this program replaces its network before it runs it.
"""

import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from musabi.hub import guarded
from peers.recording_network import RecordingNetwork


def use_loopback(hosts: dict[str, str]) -> RecordingNetwork:
    """Let the product's network be one in which these names lead to these servers."""
    network = RecordingNetwork()
    for number, (name, url) in enumerate(hosts.items(), start=1):
        network.host(name, f"93.184.216.{number}", url)
    guarded.NETWORK = network.as_network()
    return network


if __name__ == "__main__":
    use_loopback(json.loads(os.environ["MUSABI_TEST_HOSTS"]))
    from musabi.serverless.work import main

    sys.exit(main())
