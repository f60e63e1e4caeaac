"""Volumes that hang, by what the kernel offers for it: a FUSE mount that nobody serves, opens that nobody allows."""

import contextlib
import ctypes
import os
import select
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from pod.boot.box import Box

FUSE = Path("/dev/fuse")
# linux/fanotify.h
CLASS_CONTENT, MARK_ADD, OPEN_PERM, EVENT_ON_CHILD, ALLOW = 0x4, 0x1, 0x10000, 0x08000000, 0x1
EVENT = struct.Struct("=IBBHQii")


@contextlib.contextmanager
def dead_volume(box: Box, place: str) -> Iterator[None]:
    """Mount a filesystem on `place` that never answers: whatever looks at it waits until the end of the block."""
    connection = os.open(FUSE, os.O_RDWR)
    options = f"fd={connection},rootmode=40000,user_id=0,group_id=0"
    argv = ["nsenter", "-t", str(box.holder.pid), "-m", "mount", "-i", "-t", "fuse", "-o", options, "none"]
    try:
        subprocess.run([*argv, f"{box.folder}/root{place}"], check=True, timeout=20, pass_fds=[connection])
        yield
    finally:
        os.close(connection)


@contextlib.contextmanager
def opens_that_hang(folders: list[Path], hangs: Callable[[str], bool]) -> Iterator[None]:
    """Hold whoever opens a file in `folders` whose name `hangs`, until the end of the block."""
    libc = ctypes.CDLL(None, use_errno=True)
    watch = libc.fanotify_init(CLASS_CONTENT, os.O_RDONLY)
    assert watch >= 0, os.strerror(ctypes.get_errno())
    for folder in folders:
        mask = ctypes.c_uint64(OPEN_PERM | EVENT_ON_CHILD)
        done = libc.fanotify_mark(watch, MARK_ADD, mask, -1, os.fsencode(folder))
        assert done == 0, os.strerror(ctypes.get_errno())
    ending = os.eventfd(0)
    thread = threading.Thread(target=_answer, args=(watch, ending, hangs))
    thread.start()
    try:
        yield
    finally:
        os.eventfd_write(ending, 1)
        thread.join(10)
        os.close(watch)  # lets all go on
        os.close(ending)


def _answer(watch: int, ending: int, hangs: Callable[[str], bool]) -> None:
    """Allow what need not hang. An answer names an open by its number, so the others' numbers stay taken."""
    held: list[int] = []
    while ending not in select.select([watch, ending], [], [])[0]:
        data = os.read(watch, 4096)
        while data:
            length, *_, opened, _pid = EVENT.unpack_from(data)
            data = data[length:]
            if hangs(Path(f"/proc/self/fd/{opened}").readlink().name):
                held.append(opened)
            else:
                os.write(watch, struct.pack("=iI", opened, ALLOW))
                os.close(opened)
    for opened in held:
        os.close(opened)
