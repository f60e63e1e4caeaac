"""The repo on the hub that takes a job's result and its updates, through the hub's own client in this process.

What is sent here is small. The client's requests have no time limit of their own, so each is given one.
"""

import hashlib
import re
import threading
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from musabi.errors import RequestError
from musabi.hub.access import Access
from musabi.hub.destination import hub_place
from musabi.hub.faults import HubError, signs_of
from musabi.hub.upload_faults import upload_error
from musabi.serverless.delivery.request_words import in_request_words

DEFAULT_NAME = "diffusion-pipe-lora-{job}"
"""Under the account of the token, where a request names no repo: the original API's name."""
LETTERS_OF_JOB = 8
REQUEST_SECONDS = 90.0

Answer = TypeVar("Answer")


class ResultRepo:
    """One repo. `wished`: OWNER/NAME, NAME for one of the token's account, None for the default name.

    `access` brings the token. `private`: whether only its owner may see it; None: so where it is made, and left
    as it is where it is there. Every method raises HubError: the hub refused, or could not be reached.
    """

    def __init__(
        self,
        wished: str | None,
        job_id: str,
        access: Access,
        *,
        private: bool | None = True,
        limit_s: float = REQUEST_SECONDS,
    ) -> None:
        """Raises RequestError: `wished` is no name of a repo."""
        self.access = access
        self.private = private
        self._name = (wished or "").strip().strip("/") or DEFAULT_NAME.format(job=short_id(job_id))
        self._limit_s = limit_s
        self._made = False
        self._lock = threading.Lock()
        require_name(self._name)

    @property
    def known(self) -> str | None:
        """OWNER/NAME, or None where the hub was not asked yet whose token it is."""
        return self._name if "/" in self._name else None

    def name(self) -> str:
        """Return OWNER/NAME; asks the hub once where the owner is not known."""
        with self._lock:
            if "/" not in self._name:
                who = self._asked(lambda: self._api().whoami())
                self._name = f"{who['name']}/{self._name}"
            return self._name

    def commit(self, files: Mapping[str, str], message: str) -> None:
        """Commit texts by their names in the repo; the repo is made first where there is none.

        Raises:
            RequestError: the repo is public and should not be.
        """
        from huggingface_hub import CommitOperationAdd

        name = self.name()
        if not self._made:
            self.require_private()
            private = self.private is not False
            self._asked(lambda: self._api().create_repo(name, private=private, exist_ok=True))
            self._made = True

        added = [CommitOperationAdd(path, text.encode()) for path, text in files.items()]
        self._asked(lambda: self._api().create_commit(name, added, commit_message=message))

    def require_private(self) -> None:
        """Raise a RequestError where the repo shall be private, and everybody can see it."""
        if self.private and self.is_public():
            raise RequestError(
                f"{self.name()} is there already and everybody can see it. Set output.huggingface.private to false "
                "to publish there, or name another repo."
            )

    def is_public(self) -> bool:
        """Tell whether the repo is there and everybody can see it."""
        from huggingface_hub.errors import RepositoryNotFoundError

        name = self.name()
        try:
            info = self._asked(lambda: self._api().repo_info(name), passes=RepositoryNotFoundError)
        except RepositoryNotFoundError:
            return False
        return info.private is False

    def _api(self) -> Any:  # noqa: ANN401 - HfApi, imported late
        from huggingface_hub import HfApi

        return HfApi(endpoint=self.access.endpoint, token=self.access.token or False)

    def _asked(
        self, ask: Callable[[], Answer], passes: type[Exception] | tuple[type[Exception], ...] = ()
    ) -> Answer:
        try:
            return within(self._limit_s, ask)
        except passes:
            raise
        except Exception as error:  # whatever the client and what is below it raise
            raise self._said(error) from None

    def _said(self, error: Exception) -> HubError:
        fault = upload_error(
            signs_of(error, self.access.token is not None),
            repo=self._name,
            owner=self._name.partition("/")[0],
            endpoint=self.access.endpoint,
            again="try again",
            stall_s=f"{self._limit_s:g}",
        )
        return HubError(in_request_words(str(fault)), fault.kind, fault.retry)


def require_name(name: str) -> None:
    """Raise a RequestError where OWNER/NAME, or NAME alone, can't be a repo."""
    try:
        hub_place(f"hf:{name}" if "/" in name else f"hf:owner/{name}")
    except RequestError:
        raise RequestError(
            f'output.huggingface.repo_id is "{name[:80]}", which names no repo. Write USER/REPO: letters, '
            "digits, dots, dashes and underscores, no spaces, and one slash."
        ) from None


def short_id(job_id: str) -> str:
    """Return the first letters of a job's id as a repo's name may end; a hash where they can't be that."""
    start = job_id[:LETTERS_OF_JOB].rstrip("-_")
    if re.fullmatch(r"[A-Za-z0-9]+(?:[-_][A-Za-z0-9]+)*", start):
        return start
    return hashlib.sha256(job_id.encode(errors="surrogatepass")).hexdigest()[:LETTERS_OF_JOB]


def within(seconds: float, work: Callable[[], Answer]) -> Answer:
    """Return what `work` returns; it is left behind after `seconds`.

    Raises:
        TimeoutError: it took longer. Besides, what `work` raises.
    """
    came: list[Answer] = []
    problem: list[BaseException] = []

    def run() -> None:
        try:
            came.append(work())
        except BaseException as error:
            problem.append(error)

    thread = threading.Thread(target=run, daemon=True, name="hub request")
    thread.start()
    thread.join(seconds)
    if problem:
        raise problem[0]
    if not came:
        raise TimeoutError(f"no answer: it timed out after {seconds:g} s")
    return came[0]
