"""Removes what ended jobs leave behind: their folders after some hours, later the rows too."""

import shutil
import threading
import uuid
from pathlib import Path

from musabi.serverless.places import TRASH, Places
from musabi.serverless.queue.store import Store
from musabi.serverless.queue.vault import Vault


class Reaper:
    """`keep_s` is how long the folder of an ended job is kept, and its secrets, for a retry."""

    def __init__(self, store: Store, vault: Vault, places: Places, keep_s: float) -> None:
        self._store = store
        self._vault = vault
        self._places = places
        self._keep_s = keep_s

    def reap(self) -> None:
        """Set aside what is due; it is removed in the background, since a volume takes its time over many files.

        To be called by the thread that starts jobs: a job that is sent again at this moment then gets either
        its whole folder or a new one.
        """
        for job_id in self._store.take_for_removal(self._keep_s):
            self._vault.drop(job_id)
            folder = self._places.job(job_id)
            if folder.is_dir():
                folder.rename(folder.with_name(f"{TRASH}{uuid.uuid4().hex}"))
        for job_id in self._store.forget():
            self._vault.drop(job_id)
        trash = list(self._places.jobs.glob(f"{TRASH}*"))
        if trash:
            threading.Thread(target=remove, args=(trash,), name="reaper", daemon=True).start()


def remove(folders: list[Path]) -> None:
    """Remove folders; what can't be removed now is tried again with the next ones."""
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
