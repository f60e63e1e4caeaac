"""Where the secrets of waiting jobs lie: one file a job, 0600, on the container's disk, never on the volume."""

import hashlib
from pathlib import Path
from typing import Any

from musabi.whole import read_json, write_json

WEBHOOK = "webhook"
"""The name under which a webhook lies here, whose query may hold a key."""


class Vault:
    """The secrets of the jobs that have not ended for good, by the paths they had in the request."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, job_id: str, secrets: dict[str, str]) -> None:
        """Keep the secrets of a job; none are kept as no file.

        Raises:
            OSError: the file can't be written.
        """
        if not secrets:
            return
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder.chmod(0o700)
        write_json(self._file(job_id), secrets, mode=0o600, sync=False)  # gone with the machine anyway

    def read(self, job_id: str) -> dict[str, str]:
        """Return the secrets of a job; {} where there are none, or were kept in a container that is gone."""
        value: Any = read_json(self._file(job_id))
        return {str(name): str(text) for name, text in value.items()} if isinstance(value, dict) else {}

    def drop_all_but_webhook(self, job_id: str) -> None:
        """Remove the secrets of a job that went well; its webhook is still to be called."""
        kept = {name: text for name, text in self.read(job_id).items() if name == WEBHOOK}
        self.keep(job_id, kept) if kept else self.drop(job_id)

    def drop(self, job_id: str) -> None:
        """Remove the secrets of a job."""
        self._file(job_id).unlink(missing_ok=True)

    def _file(self, job_id: str) -> Path:
        return self._folder / f"{hashlib.sha256(job_id.encode()).hexdigest()}.json"
