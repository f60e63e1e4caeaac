"""What this machine is: GPUs, cores, main memory. Asked once, without importing torch."""

import os
import subprocess
from dataclasses import replace
from pathlib import Path

from musabi.container import main_memory
from musabi.job.facts import MachineFacts

DRIVER = Path("/proc/driver/nvidia/version")
QUERY = ("nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits")


def machine_facts() -> MachineFacts:
    """Return the GPUs that are visible, the cores and the main memory that this process may use (in bytes)."""
    return replace(_gpus_and_cores(), ram=main_memory())


def _gpus_and_cores() -> MachineFacts:
    cpus = len(os.sched_getaffinity(0))
    if not DRIVER.exists() or os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return MachineFacts(cpus=cpus)
    try:
        answer = subprocess.run(QUERY, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return MachineFacts(cpus=cpus)
    return parse_gpus(answer, os.environ.get("CUDA_VISIBLE_DEVICES"), cpus)


def parse_gpus(answer: str, visible: str | None, cpus: int) -> MachineFacts:
    """Return the facts that nvidia-smi's answer holds (a line a GPU: name, memory in MiB).

    `visible` is CUDA_VISIBLE_DEVICES: indexes into the lines; identifiers are counted, not looked up.
    """
    rows = [line.rsplit(",", 1) for line in answer.splitlines() if "," in line]
    if visible is not None:
        wanted = [part.strip() for part in visible.split(",") if part.strip()]
        numbers = [int(part) for part in wanted if part.isdigit() and int(part) < len(rows)]
        rows = [rows[number] for number in numbers] if numbers else rows[: len(wanted)]
    memory = tuple(int(row[1].strip()) * 1024**2 for row in rows if row[1].strip().isdigit())
    return MachineFacts(gpus=memory, gpu_name=rows[0][0].strip() if rows else "", cpus=cpus)
