"""Caption files: read as what they hold, and saved only over what the person had before their eyes."""

import errno
import hashlib
import os
import re
import stat
import threading
from dataclasses import dataclass
from pathlib import Path

from musabi.dataset.encodings import read_text
from musabi.errors import RequestError
from musabi.whole import replacing

MOST_BYTES = 65_536
"""A longer file is no caption: text encoders end after a few hundred words."""
PLAIN = "UTF-8"
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_SAVING = threading.Lock()
"""Between looking at a file and replacing it, nobody else on this page may."""


@dataclass(frozen=True)
class Caption:
    """A caption as it lies there. `text` has no white space around it, as it is trained.

    `hash` tells one state of the file from another, "" where there is no file. `encoding` names one that is not
    UTF-8, which the trainer can't read. `problem` says why it can't be edited here.
    """

    text: str = ""
    hash: str = ""
    encoding: str = ""
    problem: str = ""


@dataclass(frozen=True)
class Saved:
    """A caption after a change, and what the file held before: None where it was not there."""

    caption: Caption
    before: bytes | None


class Newer(Exception):  # noqa: N818 - no error: another state of the file, to be shown
    """The file is not what the change began from any more. `caption` is what it holds now."""

    def __init__(self, caption: Caption) -> None:
        super().__init__("This caption was changed elsewhere meanwhile.")
        self.caption = caption


def read_caption(file: Path) -> Caption:
    """Return the caption in a file; one without text where there is no file."""
    data = _bytes(file)
    return caption_of(data) if data is not None else Caption()


def caption_of(data: bytes) -> Caption:
    """Return the caption that a file with these bytes holds."""
    if len(data) > MOST_BYTES:
        return Caption(hash=hash_of(data), problem="This file is too long to be a caption.")
    text, encoding = read_text(data)
    return Caption(_lines(text).strip(), hash_of(data), "" if encoding == PLAIN else encoding)


def hash_of(data: bytes | None) -> str:
    """Return what tells one state of a file from another; "" of no file."""
    return "" if data is None else hashlib.sha256(data).hexdigest()[:16]


def tidy(text: str) -> str:
    """Return a caption as it is saved: without control characters and without white space around it."""
    return _CONTROL.sub("", _lines(text)).strip()


def _lines(text: str) -> str:
    """Return a text with line ends as the trainer and browsers read them."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def save_caption(file: Path, text: str, began_from: str, *, sync: bool = True) -> Saved:
    """Save a caption as UTF-8 over the state of the file that `began_from` is the hash of ("": no file).

    An empty caption makes no file where there is none.

    Raises:
        Newer: the file is another by now; nothing was changed.
        RequestError: the text is longer than any caption, or what lies there is.
        OSError: it can't be written.
    """
    text = tidy(text)
    data = (text + "\n" if text else "").encode("utf-8", "replace")
    if len(data) > MOST_BYTES:
        raise RequestError("This is too long for a caption. Text encoders read a few hundred words.")
    return put_bytes(file, data if data or began_from else None, began_from, sync=sync)


def put_bytes(file: Path, data: bytes | None, began_from: str, *, sync: bool = True) -> Saved:
    """Let the file hold `data`, or be gone where that is None, if it is still in the state `began_from`.

    Raises:
        Newer: the file is another by now; nothing was changed.
        RequestError: what lies there is too long to be a caption.
        OSError: it can't be written.
    """
    with _SAVING:
        before = _bytes(file)
        now = caption_of(before) if before is not None else Caption()
        if now.hash != began_from:
            raise Newer(now)
        if now.problem:
            raise RequestError(now.problem)
        if data is None:
            file.unlink(missing_ok=True)
            return Saved(Caption(), before)
        if data != before:
            with replacing(file.resolve(), sync=sync) as part:  # a link stays one
                part.write_bytes(data)
    return Saved(caption_of(data), before)


def _bytes(file: Path) -> bytes | None:
    try:
        with open(file, "rb", opener=_without_waiting) as opened:
            if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
                raise OSError(errno.EINVAL, "It is no plain file", str(file))
            return opened.read(MOST_BYTES + 1)
    except FileNotFoundError:
        return None


def _without_waiting(path: str, flags: int) -> int:
    """Open a file; a named pipe would wait for a writer, and every page with it."""
    return os.open(path, flags | os.O_NONBLOCK)
