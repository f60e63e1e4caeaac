"""Takes the wanted files out of a zip or tar archive that nobody vouches for.

Names are only labels here: each file is written under a number of its own, so that nothing in an archive
can decide where a byte goes. Sizes are counted while writing, since a header may lie.
"""

import bz2
import errno
import gzip
import lzma
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self, cast

from musabi.dataset.incoming import Notes, Raw, printable, wanted
from musabi.dataset.safe_names import escapes, zip_name
from musabi.errors import RequestError

CHUNK = 1024 * 1024
ENCRYPTED = 0x1
UNIX_LINK, UNIX_TYPE = 0o120000, 0o170000
UNIX_PLAIN = (0o100000, 0o040000, 0)
# These describe the member after them, and tarfile holds them in memory as a whole.
TAR_EXTENDED = (
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
)
MOST_EXTENDED = 1024 * 1024
_BROKEN = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    gzip.BadGzipFile,
    EOFError,
    ValueError,
    NotImplementedError,
    RuntimeError,
    IndexError,
    OverflowError,
    MemoryError,
    struct.error,
)


@dataclass(frozen=True)
class Limits:
    """What an archive may hold. Sizes are bytes; `ratio` is unpacked bytes to archive bytes.

    Images barely shrink, while deflate reaches 1032:1 on zeros: a `ratio` far above a dataset's, counted
    once `ratio_from` bytes were written, tells a bomb.
    """

    members: int = 200_000
    total: int = 64 * 1024**3
    ratio: int = 200
    ratio_from: int = 128 * 1024**2


def is_archive(path: Path) -> bool:
    """Tell by its content whether a file is an archive that can be unpacked."""
    with path.open("rb") as file:
        start = file.read(512)
    return (
        start.startswith((b"PK\3\4", b"PK\5\6", b"PK\7\x08", b"\x1f\x8b", b"BZh", b"\xfd7zXZ"))
        or start[257:262] == b"ustar"
    )


def unpacked_size(path: Path) -> int:
    """Return the bytes that an archive says it holds, or its own size where it does not say."""
    try:
        with zipfile.ZipFile(path) as archive:
            return sum(info.file_size for info in archive.infolist())
    except _BROKEN:
        return path.stat().st_size


def take_out(archive: Path, folder: Path, limits: Limits, notes: Notes) -> list[Raw]:
    """Write the wanted members of an archive into `folder` (which is there) and return them.

    Raises:
        RequestError: it is encrypted, broken, a bomb, no archive, or holds a path or link that leads out.
        OSError: the disk is full.
    """
    with _plain_words(archive):
        if zipfile.is_zipfile(archive):
            return list(_from_zip(archive, folder, limits, notes))
        return list(_from_tar(archive, folder, limits, notes))


@contextmanager
def _plain_words(archive: Path) -> Iterator[None]:
    try:
        yield
    except tarfile.ReadError as error:
        if "not a gzip" in str(error) or "could not be opened" in str(error):
            raise RequestError(
                f"{archive.name} is no zip or tar archive. Pack the images and captions into a .zip."
            ) from None
        raise _broken(archive, error) from None
    except _BROKEN as error:
        raise _broken(archive, error) from None
    except OSError as error:
        # An offset that leads before the start of the file, or broken bzip2 data (no number at all).
        if error.errno not in (errno.EINVAL, None):
            raise
        raise _broken(archive, error) from None


def _broken(archive: Path, error: Exception) -> RequestError:
    return RequestError(
        f"{archive.name} is broken ({printable(str(error)) or type(error).__name__}). "
        "Pack or upload it again; nothing was taken from it."
    )


class _Meter:
    """Counts what an archive really holds and ends it where that passes the limits."""

    def __init__(self, archive: Path, limits: Limits) -> None:
        self._archive = archive
        self._limits = limits
        self._size = max(1, archive.stat().st_size)
        self._members = self._bytes = 0

    def member(self) -> None:
        self._members += 1
        if self._members > self._limits.members:
            raise RequestError(
                f"{self._archive.name} holds more than {self._limits.members:,} files. Split it."
            )

    def add(self, count: int) -> None:
        self._bytes += count
        if self._bytes > self._limits.total:
            raise RequestError(
                f"{self._archive.name} unpacks to more than {self._limits.total / 1e9:.1f} GB, which no "
                "dataset needs. Nothing was taken from it."
            )
        if self._bytes > self._limits.ratio_from and self._bytes > self._limits.ratio * self._size:
            raise RequestError(
                f"{self._archive.name} unpacks to more than {self._limits.ratio} times its size, as only an "
                "archive made to fill a disk does. Nothing was taken from it."
            )


def _from_zip(path: Path, folder: Path, limits: Limits, notes: Notes) -> Iterator[Raw]:
    meter = _Meter(path, limits)
    with zipfile.ZipFile(path) as archive:
        for number, info in enumerate(archive.infolist()):
            meter.member()
            name = zip_name(info.filename, bool(info.flag_bits & 0x800))
            kind = (info.external_attr >> 16) & UNIX_TYPE
            _refuse_escape(path, name, link=kind == UNIX_LINK, plain=kind in UNIX_PLAIN)
            if name.endswith("/") or not wanted(name, notes):
                continue
            if info.flag_bits & ENCRYPTED:
                raise RequestError(
                    f"{path.name} is locked with a password. Pack it again without one, then fetch it."
                )
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                # bz2 and lzma unpack a whole piece at once, however large: no limit would be seen in time.
                raise RequestError(
                    f"{path.name} is packed in an unusual way (method {info.compress_type}). "
                    "Pack it again as an ordinary zip, then fetch it."
                )
            with archive.open(info) as source:
                yield Raw(name, _write(source, folder / f"{number:06d}", meter))


class _Header(tarfile.TarInfo):
    """A tar header that is refused before a text that is too long would be read after it."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        header = super().frombuf(buf, encoding, errors)
        if header.type in TAR_EXTENDED and header.size > MOST_EXTENDED:
            raise ValueError("a name or note in it is too long")
        return header


class _Metered:
    """The unpacked bytes of a tar, each counted: names, skipped members and padding too."""

    def __init__(self, source: IO[bytes], meter: _Meter) -> None:
        self._source = source
        self._meter = meter

    def read(self, size: int) -> bytes:
        content = self._source.read(size)
        self._meter.add(len(content))
        return content


def _open_tar(path: Path) -> IO[bytes]:
    """Open what a tar file unpacks to: these readers, unlike tarfile's own, unpack no more than is asked for."""
    with path.open("rb") as file:
        start = file.read(6)
    if start.startswith(b"\x1f\x8b"):
        return cast("IO[bytes]", gzip.open(path))
    if start.startswith(b"BZh"):
        return cast("IO[bytes]", bz2.open(path))
    if start.startswith(b"\xfd7zXZ"):
        return cast("IO[bytes]", lzma.open(path))
    return path.open("rb")


def _from_tar(path: Path, folder: Path, limits: Limits, notes: Notes) -> Iterator[Raw]:
    """Read a tar as a stream: its list of members is only known when all of it was read."""
    meter = _Meter(path, limits)
    with (
        _open_tar(path) as unpacked,
        tarfile.open(
            fileobj=cast("IO[bytes]", _Metered(unpacked, meter)), mode="r|", tarinfo=_Header
        ) as archive,
    ):
        for number, info in enumerate(archive):
            meter.member()
            name = info.name.replace("\\", "/").removeprefix("./")
            _refuse_escape(path, name, link=info.issym() or info.islnk(), plain=info.isfile() or info.isdir())
            if not info.isfile():
                continue
            if info.sparse is not None or not wanted(name, notes):
                continue
            source = cast("IO[bytes]", archive.extractfile(info))
            target = _write(source, folder / f"{number:06d}")
            if target.stat().st_size != info.size:
                raise EOFError("it ends too early")
            yield Raw(name, target)


def _refuse_escape(archive: Path, name: str, *, link: bool, plain: bool) -> None:
    if plain and not link and not escapes(name):
        return
    what = "a link" if link else "a device" if not plain else "a path that leads out of it"
    raise RequestError(
        f"{archive.name} holds {what} ({printable(name)[:200]}). Nothing was taken from it. "
        "Pack plain files and folders only."
    )


def _write(source: IO[bytes], target: Path, meter: _Meter | None = None) -> Path:
    with target.open("xb") as file:
        while chunk := source.read(CHUNK):
            if meter is not None:
                meter.add(len(chunk))
            file.write(chunk)
    return target
