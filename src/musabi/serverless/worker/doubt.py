"""When a worker should be replaced after a job: what it might hand on to the next one."""

import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from musabi.serverless.attempt import processes_of
from musabi.serverless.job_folder import JobFolder, end_of_log

SIGNS: tuple[tuple[str, str], ...] = (
    (r"uncorrectable ECC|ECC error", "the GPU's memory is damaged"),
    (
        r"fallen off the bus|No devices were found|CUDA_ERROR_NO_DEVICE|no CUDA-capable device",
        "the GPU is gone",
    ),
    (
        r"CUDA error: (?!out of memory)|CUDA_ERROR_(?!OUT_OF_MEMORY)\w+|cudaError(?!MemoryAllocation)\w+",
        "the GPU answered with an error",
    ),
    (r"Failed to initialize NVML|Driver/library version mismatch", "the GPU's driver does not answer"),
    (
        r"CUDNN_STATUS_(?!ALLOC_FAILED|NOT_SUPPORTED)\w+|cuBLAS.*INTERNAL_ERROR",
        "the GPU answered with an error",
    ),
)
"""(what the log of a failed job says, what is doubtful then). Too little GPU memory is no sign: it is free again."""
FULL_BYTES = 256 * 1024**2


def doubt(folder: JobFolder, answer: Mapping[str, Any]) -> str | None:
    """Return why the worker that gave this answer should not take another job, or None."""
    if any(True for _ in processes_of(folder)):
        return "processes of the job would not end"
    if answer.get("status") != "success":
        said = f"{answer.get('error', '')}\n{answer.get('output', '')}\n{end_of_log(folder.log_file)}"
        for sign, why in SIGNS:
            if re.search(sign, said, re.IGNORECASE):
                return why
    for place in (folder.path, Path(tempfile.gettempdir())):
        if place.exists() and shutil.disk_usage(place).free < FULL_BYTES:
            return f"the disk of {place} is full"
    return None
