"""The process that sends a parcel to the hub: `python -m musabi.hub.upload_child REQUEST.json`.

A process of its own, since the client's requests have no time limit and Xet is switched off by an
environment variable only: whoever started it ends it when it stands still, and starts it again without Xet.
It prints JSON lines (see `run`); the token comes by the environment and is printed by nobody.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

from musabi.hub.access import Access
from musabi.hub.faults import signs_of
from musabi.hub.listing import RemoteFile, is_right

MESSAGE = "Publish {name} with musabi"


def run(request: dict[str, Any], access: Access) -> None:
    """Make the repo, send what it does not have, and commit all of it at once.

    Prints {"changed": [names]}, then {"uploaded": name} for each large file that arrived, then
    {"done": address of the repo}; or {"public": true} where the repo is public and should not be.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    api = HfApi(endpoint=access.endpoint, token=access.token or False)
    repo = request["repo"]
    url = api.create_repo(repo, private=not request["public"], exist_ok=True)
    info = api.repo_info(repo, timeout=access.request_s)
    if not request["public"] and info.private is False:
        _print({"public": True})
        return
    if request["public"] and info.private:
        api.update_repo_settings(repo, private=False)
    there = _there(api, repo)
    changed = [one for one in request["pieces"] if not _same(one, there.get(one["name"]))]
    _print({"changed": [one["name"] for one in changed]})
    additions = [CommitOperationAdd(one["name"], one["path"]) for one in changed]
    for addition in sorted(additions, key=lambda one: one.upload_info.size):
        # One by one: what has arrived need not be sent again after a kill.
        api.preupload_lfs_files(repo, [addition], num_threads=2, free_memory=False)
        _print({"uploaded": addition.path_in_repo})
    if additions:
        api.create_commit(repo, additions, commit_message=MESSAGE.format(name=request["title"]))
    _print({"done": str(url)})


def _there(api: Any, repo: str) -> dict[str, RemoteFile]:  # noqa: ANN401 - HfApi, imported late
    from huggingface_hub.hf_api import RepoFile

    return {
        one.path: RemoteFile(one.path, one.size, one.lfs.sha256 if one.lfs else None, one.blob_id)
        for one in api.list_repo_tree(repo, recursive=True)
        if isinstance(one, RepoFile)
    }


def _same(one: dict[str, Any], remote: RemoteFile | None) -> bool:
    if remote is None or remote.size != one["size"]:
        return False
    if remote.sha256 is not None:
        return bool(remote.sha256 == one["sha256"])
    return is_right(Path(one["path"]), remote)


def _print(value: dict[str, Any]) -> None:
    print(json.dumps(value), flush=True)


def main() -> int:
    """Send the parcel of the request file; print {"error": ...} and return 1 where that fails."""
    access = Access(os.environ)
    request = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    try:
        run(request, access)
    except Exception as error:
        signs = signs_of(error, access.token is not None)
        text = signs.text.replace(access.token, "***") if access.token else signs.text
        _print({"error": {"status": signs.status, "code": signs.code, "text": text}})
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
