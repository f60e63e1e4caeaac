"""Sorts what came out of an archive into a folder of images and one of videos, each file with its caption."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from musabi.dataset.incoming import kind_of

CAPTIONS = (".txt", ".caption")
"""Endings of captions, the one that trainers read first."""
KINDS = {"image": "images", "video": "videos"}
# (offset, bytes) by which MP4 and MOV, Matroska and WebM, AVI, and MPEG begin. The video library goes by the
# content, too, and would take a playlist that names other files for a video: playlists are text (`is_video`).
VIDEO_SIGNS: tuple[tuple[int, tuple[bytes, ...]], ...] = (
    (4, (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot")),
    (0, (b"\x1aE\xdf\xa3", b"\0\0\1\xba", b"\0\0\1\xb3")),
    (8, (b"AVI ",)),
)
RIFF = b"RIFF"
TEXT = frozenset(b"\t\n\r" + bytes(range(0x20, 0x7F)))
SIGN_BYTES = 16


@dataclass(frozen=True)
class Sorted:
    """What lies in the folders now, and (name, why) of what was not taken."""

    images: tuple[Path, ...] = ()
    videos: tuple[Path, ...] = ()
    left_out: tuple[tuple[str, str], ...] = ()

    def __add__(self, other: "Sorted") -> "Sorted":
        return Sorted(self.images + other.images, self.videos + other.videos, self.left_out + other.left_out)


def sort_by_kind(incoming: Path, images: Path, videos: Path, wanted: frozenset[str]) -> Sorted:
    """Move the files of `incoming` into the folders; each picture and video gets a stem of its own there.

    `wanted` holds "images", "videos" or both. A caption goes with every file of its stem.
    """
    folders = {"images": images, "videos": videos}
    taken = {kind: _stems(folder) for kind, folder in folders.items()}
    moved: dict[str, list[Path]] = {"images": [], "videos": []}
    left_out, captioned = [], set()
    for file in sorted(incoming.iterdir()):
        kind = KINDS.get(kind_of(file.name))
        if kind is None:
            continue
        captions = [path for path in map(file.with_suffix, CAPTIONS) if path.is_file()]
        captioned.update(captions)
        if kind == "videos" and not is_video(file):
            left_out.append((file.name, "is no video, whatever its name says"))
            continue
        if kind not in wanted:
            left_out.append((file.name, f"is no {_other(kind)}, which dataset.type asks for"))
            continue
        stem = _free(file.stem, taken[kind])
        folder = folders[kind]
        folder.mkdir(parents=True, exist_ok=True)
        for caption in captions:  # a copy: an image and a video may share it
            shutil.copyfile(caption, folder / f"{stem}{caption.suffix}")
        moved[kind].append(file.rename(folder / f"{stem}{file.suffix}"))
    left_out += [(path.name, _why(path)) for path in sorted(incoming.iterdir()) if _is_alone(path, captioned)]
    return Sorted(tuple(moved["images"]), tuple(moved["videos"]), tuple(left_out))


def is_video(file: Path) -> bool:
    """Tell by its first bytes whether a file is a video of a format that is taken."""
    with file.open("rb") as opened:
        start = opened.read(SIGN_BYTES)
    if not start.startswith(RIFF) and TEXT.issuperset(start[:4]):
        return False
    return any(start[at:].startswith(signs) for at, signs in VIDEO_SIGNS)


def _other(kind: str) -> str:
    return "video" if kind == "images" else "image"


def _is_alone(path: Path, captioned: set[Path]) -> bool:
    return kind_of(path.name) == "caption" and path not in captioned


def _why(path: Path) -> str:
    if path.suffix == ".jsonl":
        return "is not read: put a .txt beside each image or video"
    return "is the caption of no image or video"


def _stems(folder: Path) -> set[str]:
    return {path.stem.casefold() for path in folder.iterdir()} if folder.is_dir() else set()


def _free(stem: str, taken: set[str]) -> str:
    """Return the stem, or with -2, -3, ... after it the first that is free; it is taken from then on."""
    name, number = stem, 1
    while name.casefold() in taken:
        number += 1
        name = f"{stem}-{number}"
    taken.add(name.casefold())
    return name
