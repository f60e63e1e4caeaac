"""Updates of a job: each is written into the job's folder at once and sent to the hub in order, aside.

`add` never waits and never raises: a hub that is down, slow or refuses costs a job nothing. What is sent is noted
in sent.json, so that a job that is started again goes on counting, and sends what was left.
"""

import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

from musabi.errors import RequestError
from musabi.hub.access import Access
from musabi.hub.faults import HubError
from musabi.serverless.delivery.result_repo import ResultRepo
from musabi.serverless.delivery.update_file import FOLDER, Update, cleaned, commit_message, read_updates
from musabi.serverless.job_folder import JobFolder
from musabi.serverless.request.secrets import OUTPUT_TOKEN, long_enough_to_hide
from musabi.whole import read_json, write_json, write_text

if TYPE_CHECKING:
    from musabi.serverless.request.fields import TrainingRequest

SENT_FILE = "sent.json"
MOST_A_COMMIT = 50
CLOSING_DELAY_S = 1.0
NOTE = "New files appear in this folder as the job goes on. The last one is COMPLETE or ERROR."

Say = Callable[[str], None]


class Updates:
    """The updates of one job. Without a repo they stay in the job's folder."""

    def __init__(
        self, folder: JobFolder, say: Say, repo: ResultRepo | None = None, hidden: tuple[str, ...] = ()
    ) -> None:
        self._folder = folder
        self._job_id = folder.job_id
        self._say = say
        self._hidden = hidden
        self.repo = repo
        earlier = read_updates(folder.updates)
        self._number = earlier[-1].number if earlier else 0
        self._changed = threading.Condition()
        self._waiting = [update for update in earlier if update.number > self._sent()]
        self._deadline: float | None = None
        self._refused = False
        self._thread = threading.Thread(target=self._send_all, daemon=True, name="updates")
        if repo is not None:
            self._thread.start()
        if not earlier:
            self.add(
                "INITIALIZED",
                {
                    "job_id": self._job_id,
                    "repo_id": repo.known if repo else None,
                    "message": "Training job initialized",
                    "note": NOTE,
                },
            )

    @classmethod
    def of(
        cls,
        request: "TrainingRequest",
        secrets: Mapping[str, str],
        folder: JobFolder,
        environ: Mapping[str, str],
        say: Say,
    ) -> Self:
        """Return the updates of a job: they go to the hub where the request names it and there is a token.

        Raises:
            RequestError: output.huggingface.repo_id names no repo.
        """
        asked = request.output.huggingface
        hidden = long_enough_to_hide(secrets)
        if not secrets.get(OUTPUT_TOKEN) or (asked is None and request.output.method != "huggingface"):
            return cls(folder, say, None, hidden)
        access = Access(hub_environment(environ, secrets))
        wished = asked.repo_id if asked is not None else None
        private = asked.private if asked is not None and "private" in asked.model_fields_set else None
        return cls(folder, say, ResultRepo(wished, folder.job_id, access, private=private), hidden)

    def add(self, status: str, data: Mapping[str, Any]) -> None:
        """Tell how the job goes. Returns at once, whatever the hub does."""
        with self._changed:
            self._number += 1
            clean = cleaned(data, self._hidden)
            update = Update(self._number, status, datetime.now(UTC), clean)
            self._write(update)
            if self.repo is not None and not self._refused:
                self._waiting.append(update)
                self._changed.notify_all()

    def flush(self, timeout_s: float) -> bool:
        """Wait until all is sent, at most `timeout_s` seconds; tell whether it is."""
        if self.repo is None:
            return True
        with self._changed:
            return self._changed.wait_for(lambda: self._refused or not self._waiting, timeout_s)

    def close(self, timeout_s: float) -> None:
        """Send what is left, at most `timeout_s` seconds long; what could not be sent is in the job's folder."""
        if self.repo is None:
            return
        with self._changed:
            self._deadline = time.monotonic() + timeout_s
            self._changed.notify_all()
        self._thread.join(timeout_s)
        if self._waiting and not self._refused:
            self._say(
                f"{len(self._waiting)} updates did not reach the hub. They are in {self._folder.updates}."
            )

    def _write(self, update: Update) -> None:
        repo = self.repo.known if self.repo else None
        try:
            write_text(self._folder.updates / update.name, update.text(self._job_id, repo))
        except (OSError, ValueError) as problem:
            self._say(f"Update {update.name} could not be written: {problem}")

    def _sent(self) -> int:
        """Return the number of the last update that was sent; where the job changed its repo, none was."""
        value = read_json(self._folder.updates / SENT_FILE)
        known = self.repo.known if self.repo else None
        if not isinstance(value, dict) or (known is not None and value.get("repo_id") != known):
            return 0
        return int(value.get("sent", 0))

    def _send_all(self) -> None:
        failures = 0
        while batch := self._next_batch():
            try:
                self._send(batch)
                failures = 0
            except (HubError, RequestError) as problem:
                failures += 1
                if not self._try_again(problem, failures):
                    return

    def _next_batch(self) -> list[Update]:
        """Wait for updates to send; nothing means that the end has come."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._deadline is not None)
            return self._waiting[:MOST_A_COMMIT]

    def _send(self, batch: list[Update]) -> None:
        if self.repo is None:
            return
        name = self.repo.name()
        files = {f"{FOLDER}/{update.name}": update.text(self._job_id, name) for update in batch}
        self.repo.commit(files, commit_message(batch))
        with self._changed:
            del self._waiting[: len(batch)]
            self._changed.notify_all()
        try:
            write_json(self._folder.updates / SENT_FILE, {"repo_id": name, "sent": batch[-1].number})
        except OSError as problem:
            self._say(f"{SENT_FILE} could not be written: {problem}")

    def _try_again(self, problem: Exception, failures: int) -> bool:
        """Wait before the next try; False where there is none: the hub refuses, or the end has come."""
        retry = getattr(problem, "retry", False)
        if failures == 1 or not retry:
            then = "They are sent later." if retry else f"They stay in {self._folder.updates}."
            self._say(f"Updates can't be sent to the hub: {problem} {then}")
        with self._changed:
            if not retry:
                self._refused = True
                self._changed.notify_all()
                return False
            ending = self._deadline is not None
            delay = min(CLOSING_DELAY_S, self._delay(failures)) if ending else self._delay(failures)
            self._changed.wait_for(lambda: self._deadline is not None and not ending, delay)
            return self._deadline is None or time.monotonic() < self._deadline

    def _delay(self, failures: int) -> float:
        return self.repo.access.delay(failures) if self.repo else 0.0


def hub_environment(environ: Mapping[str, str], secrets: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of the hub's client: the request's token, and never offline."""
    kept = {name: value for name, value in environ.items() if name not in ("HF_HUB_OFFLINE", "HF_TOKEN_PATH")}
    return kept | {"HF_TOKEN": secrets[OUTPUT_TOKEN]}
