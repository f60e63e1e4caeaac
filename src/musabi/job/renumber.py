"""Names and metadata of what a resumed leg writes, as an uninterrupted run would have written them.

A trainer that counts from zero again after a resume numbers its files wrongly; the offsets are what was
done before. Names (musubi-tuner's): NAME-000010.safetensors, NAME-step00000012-state, NAME-state,
sample/NAME_e000010_00_20250131120000_42_000.png (videos end in _42.mp4). Kandinsky 5 names its samples
sample/sample_000012_00.mp4 after the step, and the first frame .png: they get a name like the others.
"""

import json
import re
import time
from dataclasses import dataclass
from pathlib import Path, PurePath
from shutil import copyfileobj
from typing import Literal

from musabi.whole import replacing, safetensors_header

FileKind = Literal["checkpoint", "state", "sample"]


@dataclass(frozen=True)
class Final:
    """Where a file goes in the output folder (`path` is relative), and what it is."""

    path: PurePath
    kind: FileKind
    epoch: int | None = None
    step: int | None = None


def final_name(
    name: PurePath, output_name: str, epoch_offset: int = 0, step_offset: int = 0, made: float = 0.0
) -> Final | None:
    """Return the final place of a file that a trainer wrote, or None where it is none of the run's.

    `name` is relative to the folder that the trainer writes into; `made` is when the file was written (Unix
    seconds), for samples whose own name does not say it.
    """
    if name.parent.name == "sample":
        return _sample(name, output_name, epoch_offset, step_offset, made)
    pattern = (
        re.escape(output_name) + r"(?:-(?P<epoch>\d{6})|-step(?P<step>\d{8}))?(?P<end>\.safetensors|-state)"
    )
    match = re.fullmatch(pattern, name.name)
    if match is None or name.parent != PurePath():
        return None
    kind: FileKind = "state" if match["end"] == "-state" else "checkpoint"
    if match["epoch"] is not None:
        epoch = int(match["epoch"]) + epoch_offset
        return Final(PurePath(f"{output_name}-{epoch:06d}{match['end']}"), kind, epoch=epoch)
    if match["step"] is not None:
        step = int(match["step"]) + step_offset
        return Final(PurePath(f"{output_name}-step{step:08d}{match['end']}"), kind, step=step)
    return Final(PurePath(name.name), kind)


def _sample(
    name: PurePath, output_name: str, epoch_offset: int, step_offset: int, made: float
) -> Final | None:
    plain = re.fullmatch(r"sample_(\d{6,})_(\d{2,})(\.png|\.mp4)", name.name)
    if plain is not None:
        stamp = time.strftime("%Y%m%d%H%M%S", time.localtime(made))
        number, prompt, ending = plain.groups()
        return _sample_of_step(output_name, int(number) + step_offset, f"_{prompt}_{stamp}{ending}")
    pattern = (
        re.escape(output_name) + r"_(?:e(?P<epoch>\d{6})|(?P<step>\d{6,}))(?P<end>_\d{2,}_.*(?:\.png|\.mp4))"
    )
    match = re.fullmatch(pattern, name.name)
    if match is None:
        return None
    if match["epoch"] is not None:
        epoch = int(match["epoch"]) + epoch_offset
        return Final(PurePath("sample", f"{output_name}_e{epoch:06d}{match['end']}"), "sample", epoch=epoch)
    return _sample_of_step(output_name, int(match["step"]) + step_offset, match["end"])


def _sample_of_step(output_name: str, step: int, end: str) -> Final:
    return Final(PurePath("sample", f"{output_name}_{step:06d}{end}"), "sample", step=step)


def shift_metadata(path: Path, target: Path, epoch_offset: int, step_offset: int) -> None:
    """Write a LoRA file to `target` with the offsets added to the counts in its metadata, atomically.

    `path` stays as it is, so that a kill and another try add them once only.

    The counts are kohya's: ss_epoch, ss_num_epochs, ss_steps, ss_max_train_steps. Tensors stay as they are.
    """
    header = safetensors_header(path)
    if header is None:
        raise OSError(f"{path} can't be read")
    length, entries = header
    metadata = entries.get("__metadata__", {})
    offsets = {
        "ss_epoch": epoch_offset,
        "ss_num_epochs": epoch_offset,
        "ss_steps": step_offset,
        "ss_max_train_steps": step_offset,
    }
    for key, offset in offsets.items():
        if str(metadata.get(key, "")).isdigit():
            metadata[key] = str(int(metadata[key]) + offset)
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at a multiple of 8 bytes
    with replacing(target) as part, part.open("wb") as new, path.open("rb") as old:
        new.write(len(text).to_bytes(8, "little") + text)
        old.seek(8 + length)
        copyfileobj(old, new, 1024 * 1024)
