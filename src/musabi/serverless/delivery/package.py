"""The files of a result under the names that the original API's clients look for, and the archive of them."""

import zipfile
from collections.abc import Sequence
from pathlib import Path

from musabi.hub.parcel import Piece, piece
from musabi.hub.room import require_room
from musabi.serverless.context import Context
from musabi.serverless.delivery.adapter_config import adapter_config
from musabi.serverless.delivery.card import readme
from musabi.serverless.parts import Trained
from musabi.watch.card import CardFile
from musabi.whole import replacing, write_json, write_text

MODEL = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
NATIVE = "native"
SAMPLES = "samples"
CARD = "README.md"
SOME_TIME = (1980, 1, 1, 0, 0, 0)
"""When an archive's files claim to be from, so that the same files make the same archive."""


def pack(context: Context, trained: Trained, folder: Path, repo: str | None = None) -> list[Piece]:
    """Return the files to hand over, the LoRA first; those that are made for it are written into `folder`.

    `repo`: the repo that they go to, for the card; None: an archive or a folder.

    Raises:
        RequestError: the LoRA can't be read.
        OSError: a file can't be read or written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / CONFIG, adapter_config(trained.comfy, trained.base_model))
    files = [(MODEL, trained.comfy), (CONFIG, folder / CONFIG)]
    shown = [CardFile(MODEL, trained.comfy.stat().st_size, "Final", converted=True)]
    if trained.native is not None:
        name = f"{NATIVE}/{trained.name}.safetensors"
        files.append((name, trained.native))
        shown.append(CardFile(name, trained.native.stat().st_size, "Final", converted=False))
    samples = [(f"{SAMPLES}/{path.name}", path) for path in trained.samples if path.is_file()]
    files += samples
    write_text(folder / CARD, readme(context, trained, shown, [name for name, _ in samples], repo))
    files.append((CARD, folder / CARD))
    return [piece(name, path) for name, path in files]


def make_archive(pieces: Sequence[Piece], target: Path, top: str) -> Path:
    """Write a zip of the files under the folder `top`; weights don't shrink, so nothing is compressed.

    Raises:
        MachineError: the disk has too little room.
        OSError: it can't be written.
    """
    require_room(target, sum(one.size for one in pieces))
    with replacing(target) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as archive:
        for one in pieces:
            entry = zipfile.ZipInfo(f"{top}/{one.name}", SOME_TIME)
            entry.external_attr = 0o644 << 16
            with one.path.open("rb") as source, archive.open(entry, "w", force_zip64=True) as written:
                while chunk := source.read(1024 * 1024):
                    written.write(chunk)
    return target
