"""accelerate's configuration, in the workspace, passed with `--config_file`."""

from pathlib import Path
from typing import Any

from musabi.job.facts import MachineFacts
from musabi.machine import machine_facts
from musabi.pod.bootstrap.stage import Context, Facts, Proof, Stage, Work
from musabi.whole import write_text
from musabi.workspace import Workspace

FILE = "accelerate.yaml"


def config_file(space: Workspace) -> Path:
    """Return where the configuration lies."""
    return space.state / FILE


def config_text(machine: MachineFacts) -> str:
    """Return accelerate's configuration (its own keys) for a machine's GPUs; bf16, no dynamo."""
    several = len(machine.gpus) > 1
    rows = {
        "compute_environment": "LOCAL_MACHINE",
        "debug": "false",
        "distributed_type": "MULTI_GPU" if several else "'NO'",
        "downcast_bf16": "'no'",
        "enable_cpu_affinity": "false",
        "machine_rank": 0,
        "main_training_function": "main",
        "mixed_precision": "bf16",
        "num_machines": 1,
        "num_processes": max(1, len(machine.gpus)),
        "rdzv_backend": "static",
        "same_network": "true",
        "use_cpu": "false" if machine.gpus else "true",
    }
    return "".join(f"{key}: {value}\n" for key, value in rows.items())


def _depends_on(_context: Context) -> Any:  # noqa: ANN401 - any JSON value
    return config_text(machine_facts())


def _there(context: Context, _facts: Facts) -> Proof:
    return Proof(config_file(context.options.space).is_file())


def _write(work: Work) -> Facts:
    write_text(config_file(work.options.space), config_text(machine_facts()))
    return {}


ACCELERATE = Stage("accelerate", ("layout",), "volume", _depends_on, _there, _write)
