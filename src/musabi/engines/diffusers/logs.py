"""TensorBoard scalars under musubi-tuner's tags and folders."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FLUSH_SECONDS = 5


class Logs:
    """Writes scalars to `FOLDER/{prefix}{time}/network_train`; without a folder it writes nothing."""

    def __init__(self, folder: Path | None, prefix: str) -> None:
        self._writer: Any = None
        if folder is not None:
            from torch.utils.tensorboard import SummaryWriter

            place = folder / f"{prefix}{time.strftime('%Y%m%d%H%M%S')}" / "network_train"
            self._writer = SummaryWriter(str(place), flush_secs=FLUSH_SECONDS)

    def add(self, values: Mapping[str, float], x: int) -> None:
        """Write all values at `x`: the step, or for loss/epoch the epoch."""
        if self._writer is not None:
            for tag, value in values.items():
                self._writer.add_scalar(tag, value, x)

    def flush(self) -> None:
        """Put everything on disk."""
        if self._writer is not None:
            self._writer.flush()

    def close(self) -> None:
        """Put everything on disk and close the file."""
        if self._writer is not None:
            self._writer.close()
