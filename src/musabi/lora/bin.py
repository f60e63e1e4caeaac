"""Taking LoRA files away: a file and its converted twin, into a bin folder beside them or for good."""

from collections.abc import Iterable
from pathlib import Path

from musabi.errors import RequestError
from musabi.stamped import stamped_folder

CONVERTED = "comfyui"
BIN = "bin"


def both_forms(file: Path) -> list[Path]:
    """Return a LoRA and its twin, as it was trained and converted, of which one may be missing.

    Raises:
        RequestError: the file is no LoRA file that is there.
    """
    if file.suffix != ".safetensors" or not file.is_file():
        raise RequestError(f"{file} is no LoRA file that is there. Name a .safetensors file.")
    folder = file.parent.parent if file.parent.name == CONVERTED else file.parent
    return [path for path in (folder / file.name, folder / CONVERTED / file.name) if path.is_file()]


def each_once(files: Iterable[Path]) -> list[Path]:
    """Return the LoRAs that are named, each once: the two forms of one are one.

    Raises:
        RequestError: one is no LoRA file that is there.
    """
    return list({both_forms(file)[0].resolve(): file for file in files}.values())


def put_away(file: Path, *, for_good: bool) -> Path | None:
    """Move both forms of a LoRA into a new folder of the bin beside it and return that, or remove them for good.

    Raises:
        RequestError: the file is no LoRA file that is there.
        OSError: the folder can't be written.
    """
    forms = both_forms(file)
    if for_good:
        for path in forms:
            path.unlink()
        return None
    folder = file.parent.parent if file.parent.name == CONVERTED else file.parent
    place = stamped_folder(folder / BIN, "", f"{folder / BIN} has too many folders of one second. Try again.")
    for path in forms:
        target = place / path.relative_to(folder)
        target.parent.mkdir(exist_ok=True)
        path.rename(target)
    return place
