"""What must be in place before anything starts: weight files, folders that can be written to."""

import os
import re
from collections.abc import Collection
from pathlib import Path

from musabi.errors import MachineError, RequestError
from musabi.job.model import Job
from musabi.whole import is_whole_safetensors, shards

FETCH = {
    "musubi": "Fetch it with musabi models download {model}",
    "diffusers": "Make a small model with: musabi models make-tiny. Or fetch the real one with: "
    "musabi bootstrap --weights",
}


def require_weights(job: Job, roles: Collection[str] | None = None) -> None:
    """Raise a RequestError where a weight file is missing or is not whole; `roles` are those needed (None: all)."""
    for role, path in job.weights.items():
        if roles is not None and role not in roles:
            continue
        variable = f"{role.upper()}_PATH"
        for shard in shards(path):
            if not shard.is_file():
                raise RequestError(
                    f"The weight file {shard} is not there. "
                    f"{FETCH[job.engine].format(model=job.model)}, or set {variable} to where it lies."
                )
            if shard.suffix == ".safetensors" and not is_whole_safetensors(shard):
                raise RequestError(
                    f"The weight file {shard} is cut off or is no safetensors file. "
                    f"Delete it. {FETCH[job.engine].format(model=job.model)}."
                )


def require_writable(folder: Path, variable: str) -> None:
    """Make `folder` and prove that a file can be written in it.

    Raises:
        MachineError: it can't be made or written to.
    """
    proof = folder / f".musabi-write-test-{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        proof.write_bytes(b"\0")
        proof.unlink()
    except OSError as problem:
        raise MachineError(
            f"Nothing can be written to {folder} ({problem.strerror}). "
            f"Set {variable} to a folder on a disk that can be written to and has room."
        ) from None


def existing_outputs(job: Job, folder: str = ".") -> list[Path]:
    """Return the files and folders in the output folder, or in one in it, that a run would replace."""
    place = job.output_dir / folder
    if not place.is_dir():
        return []
    name = re.escape(job.output_name)
    mine = re.compile(name + r"(?:-\d{6}|-step\d{8})?(?:\.safetensors|-state)")
    return sorted(path for path in place.iterdir() if mine.fullmatch(path.name))
