"""A client that follows a job by its update files, as users wrote it from the API's documentation."""

import json
import threading
import time
from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.errors import RepositoryNotFoundError

SHORT_SECONDS = 0.2
WAIT_SECONDS = 60.0


def monitor(api: HfApi, repo_id: str, cache: Path, printed: list[str], seconds: float = 30.0) -> str:
    """Return the link of a job's result; what the client prints goes to `printed`.

    Raises:
        RuntimeError: the job failed; the message is its error.
    """
    seen: set[str] = set()
    while True:
        try:
            files = api.list_repo_files(repo_id)
        except RepositoryNotFoundError:  # the job has not made it yet
            files = []
        for name in sorted(file for file in files if file.startswith("UPDATES/")):
            if name in seen:
                continue
            seen.add(name)
            update = json.loads(Path(api.hf_hub_download(repo_id, name, cache_dir=cache)).read_text())
            printed.append(f"{update['status']}: {update['data'].get('message', '')}")
            if update["status"] == "COMPLETE":
                return str(update["data"]["direct_download_url"])
            if update["status"] == "ERROR":
                raise RuntimeError(update["data"]["error"])
        time.sleep(seconds)


class MonitoringClient:
    """The client at work beside a test: `result` is what it returned, or the error it raised."""

    def __init__(self, endpoint: str, token: str, repo_id: str, cache: Path) -> None:
        self._api = HfApi(endpoint=endpoint, token=token)
        self._repo_id, self._cache = repo_id, cache
        self._came: list[str | BaseException] = []
        self.printed: list[str] = []
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def result(self) -> str | BaseException:
        """Wait until the client has ended."""
        self._thread.join(WAIT_SECONDS)
        assert self._came, f"the client still waits after {self.printed}"
        return self._came[0]

    def _run(self) -> None:
        try:
            self._came.append(monitor(self._api, self._repo_id, self._cache, self.printed, SHORT_SECONDS))
        except BaseException as error:
            self._came.append(error)
