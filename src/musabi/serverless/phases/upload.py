"""Last phase: what was trained is handed over. Where that fails for good, it stays on the volume, and is named."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from musabi.errors import MachineError, MusabiError
from musabi.serverless.context import Context
from musabi.serverless.delivery.deliver import deliver
from musabi.serverless.delivery.trained import read_trained


def run(context: Context, outcomes: Mapping[str, Any]) -> dict[str, Any]:
    """Hand the LoRA over; return the answer's `output` object and what is warned of.

    Raises:
        MachineError: it can't be handed over; the message says where it lies.
    """
    context.tell("uploading", "Uploading results", progress=0.0)
    context.updates.add("UPLOADING", {"message": "Uploading results"})
    try:
        delivery = deliver(context, read_trained(context, outcomes["training"]))
    except MusabiError as problem:
        raise MachineError(f"{problem} {where(context.folder.output)}") from None
    return {
        "output": delivery.as_json(),
        "files": list(delivery.files),
        "warnings": list(delivery.warnings),
    }


def where(folder: Path) -> str:
    """Return the sentence that says where the files are and how to go on."""
    return f"The trained LoRA is kept on the volume in {folder}; /retry uploads it again without training."
