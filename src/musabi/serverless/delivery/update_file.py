"""One update: a small JSON file that says how a job goes, under UPDATES/ in the repo of its result.

Names and fields are the original API's, whose clients sort the names and read `status` and `data`. Nothing secret
goes into one: neither a secret of the request nor the query of an address, where presigned links carry their key.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from musabi.children import is_secret_name, scrub
from musabi.whole import read_json

FOLDER = "UPDATES"
ADDRESS = re.compile(r"(?P<address>\bhttps?://[^\s\"'<>?#]+)(?P<rest>[?#][^\s\"'<>]*)", re.IGNORECASE)
KEPT_QUERY = "?download=true"
"""The hub's own switch in the addresses of results; it opens nothing."""
NAME = re.compile(r"\d{4,}_\d{8}_\d{6}_[A-Z_]+\.json")


@dataclass(frozen=True)
class Update:
    """One update. `number` counts from 1 in a job, `moment` is in UTC, `data` depends on the status."""

    number: int
    status: str
    moment: datetime
    data: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The file's name: 0003_20260131_140507_TRAINING.json."""
        return f"{self.number:04d}_{self.moment:%Y%m%d_%H%M%S}_{self.status}.json"

    def text(self, job_id: str, repo: str | None) -> str:
        """Return the file's content; a repo_id in `data` that was not known yet is filled in."""
        data = dict(self.data)
        if "repo_id" in data:
            data["repo_id"] = data["repo_id"] or repo
        value = {
            "status": self.status,
            "timestamp": self.moment.isoformat(timespec="microseconds"),
            "job_id": job_id,
            "update_number": self.number,
            "repo_id": repo,
            "data": data,
        }
        return json.dumps(value, indent=2) + "\n"


def read_updates(folder: Path) -> list[Update]:
    """Return the updates that lie in a folder, in their order; files that are none are passed over."""
    found = []
    for path in sorted(folder.glob("*.json")) if folder.is_dir() else ():
        value: Any = read_json(path) if NAME.fullmatch(path.name) else None
        try:
            moment = datetime.fromisoformat(value["timestamp"])
            found.append(Update(int(value["update_number"]), str(value["status"]), moment, value["data"]))
        except (TypeError, KeyError, ValueError):
            continue
    return sorted(found, key=lambda update: update.number)


def commit_message(updates: Sequence[Update]) -> str:
    """Return the message of the commit that brings some updates: the original's, where it is one."""
    said = ", ".join(update.status for update in updates)
    if len(updates) == 1:
        return f"Update #{updates[0].number}: {said}"
    return f"Updates #{updates[0].number} to #{updates[-1].number}: {said}"


def cleaned(value: Any, hidden: Sequence[str] = ()) -> Any:  # noqa: ANN401 - any JSON value
    """Return a value as an update may hold it: JSON alone, no `hidden` text, no query in an address.

    Texts under names such as wandb_api_key become ***; numbers that are not finite become null.
    """
    if isinstance(value, str):
        return without_queries(scrub(value, hidden))
    if isinstance(value, Mapping):
        return {
            scrub(str(name), hidden): "***" if _is_secret(name, part) else cleaned(part, hidden)
            for name, part in value.items()
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [cleaned(part, hidden) for part in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int) else cleaned(str(value), hidden)


def without_queries(text: str) -> str:
    """Return a text with the addresses in it cut before their query."""
    return ADDRESS.sub(
        lambda found: found["address"] + (KEPT_QUERY if found["rest"] == KEPT_QUERY else ""), text
    )


def _is_secret(name: object, value: object) -> bool:
    return is_secret_name(str(name)) and isinstance(value, str)
