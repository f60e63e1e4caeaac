"""Pictures and archives for tests, made in memory."""

import io
import tarfile
import zipfile
from collections.abc import Mapping

from PIL import Image


def picture(form: str = "PNG", color: str = "navy") -> bytes:
    """Return a picture of 8 x 6 pixels as a file's bytes."""
    written = io.BytesIO()
    Image.new("RGB", (8, 6), color).save(written, form)
    return written.getvalue()


def zipped(files: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Return a zip with the files under just these names."""
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content, method)
    return written.getvalue()


def tarred(files: Mapping[str, bytes], mode: str = "w:gz") -> bytes:
    """Return a tar with the files under just these names; `mode` is tarfile's."""
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode=mode) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return written.getvalue()
