"""Caption files: written whole or not at all, and never over a caption that somebody wrote."""

import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path

from musabi.captioning.plan import Uncaptioned, has_caption
from musabi.whole import replacing, write_text

REPLACED = "captions-replaced"


@dataclass
class Writer:
    """Writes captions. With `overwrite`, what stood there before goes to captions-replaced/ first."""

    overwrite: bool = False
    stamp: str = field(default_factory=lambda: time.strftime("%Y%m%d-%H%M%S"))

    def write(self, item: Uncaptioned, text: str) -> bool:
        """Write the caption of a file; False where it has got one meanwhile, which stays.

        Raises:
            OSError: the disk is full, or the folder can't be written to.
        """
        if has_caption(item.caption_file):
            if not self.overwrite:
                return False
            kept = self.kept(item)
            kept.parent.mkdir(parents=True, exist_ok=True)
            with replacing(kept) as part:
                shutil.copyfile(item.caption_file, part)
        write_text(item.caption_file, text + "\n")
        return True

    def kept(self, item: Uncaptioned) -> Path:
        """Return where an old caption is kept: captions-replaced/FOLDER/TIME/NAME beside the folder."""
        folder = item.caption_file.parent
        return folder.parent / REPLACED / folder.name / self.stamp / item.caption_file.name
