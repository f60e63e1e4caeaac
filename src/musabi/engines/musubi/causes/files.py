"""Disks, permissions, limits of the system."""

import signal

from musabi.engines.musubi.causes.cause import MACHINE, REQUEST, Cause

FILES: tuple[Cause, ...] = (
    Cause(
        "disk_full",
        r"No space left on device|os error 28|Disk quota exceeded|PytorchStreamWriter failed writing|"
        r"inline_container\.cc.*unexpected pos",
        "The disk is full, so a file could not be written. Make room, then go on with --resume.",
        MACHINE,
        kind="disk",
    ),
    Cause(
        "read_only",
        r"Read-only file system: '([^']+)'",
        "{0} lies on a disk that can't be written to. Choose another folder with OUTPUT_DIR or LOGGING_DIR.",
        MACHINE,
    ),
    Cause(
        "permission",
        r"Permission denied: '([^']+)'",
        "{0} can't be read or written. Mend its permissions, or choose another folder.",
        MACHINE,
    ),
    Cause(
        "volume_failed",
        r"\[Errno (?:5|107|116)\] ([^:\n]+)(?:: '[^']+')?",
        "The disk or network volume failed: {0}. Go on with --resume; if it fails again, take another machine.",
        MACHINE,
        retry=True,
    ),
    Cause(
        "file_missing",
        r"(?:No such file or directory: '|FileNotFoundError: File )([^'\n]+?)(?:'| not found)",
        "{0} is not there. Correct the path, or fetch it with musabi bootstrap.",
        REQUEST,
    ),
    Cause(
        "too_many_files",
        r"Too many open files",
        "The trainer may not open as many files as it wants to. Set DATA_LOADER_WORKERS=0, or raise the limit "
        "with ulimit -n 65536 before the run.",
        MACHINE,
    ),
    Cause(
        "too_many_threads",
        r"can't start new thread|pthread_create failed|Resource temporarily unavailable",
        "The container may not start as many threads as the trainer wants to. Set OMP_NUM_THREADS=1 and "
        "DATA_LOADER_WORKERS=0, or take a machine with a higher limit on processes.",
        MACHINE,
    ),
    Cause(
        "shared_memory",
        r"insufficient shared memory|out of shared memory|Unexpected bus error encountered in worker|"
        r"died with <Signals\.SIGBUS",
        "The container's shared memory (/dev/shm) is too small for the data loader. Start the container with "
        "a larger one, or set DATA_LOADER_WORKERS=0.",
        MACHINE,
        signals=(signal.SIGBUS,),
    ),
    Cause(
        "worker_killed",
        r"DataLoader worker \(pid[^)]*\) (?:is killed by signal: Killed|exited unexpectedly)",
        "A data loader process was ended from outside, most likely because main memory ran out. "
        "End other programs, or take a machine with more memory.",
        MACHINE,
        retry=True,
    ),
    Cause(
        "main_memory",
        r"(?m)DefaultCPUAllocator: (?:can't|not enough)|^MemoryError|Cannot allocate memory|"
        r"Unable to allocate [\d.]+ \w+ for an array",
        "The main memory ran out. End other programs, lower BLOCKS_TO_SWAP, or take a machine with more memory.",
        MACHINE,
    ),
    Cause(
        "killed",
        r"died with <Signals\.SIGKILL|\(exitcode: -9\)|exitcode  : -9",
        "The system ended the step, most likely because main memory ran out. End other programs, lower "
        "BLOCKS_TO_SWAP, or take a machine with more memory.",
        MACHINE,
        anywhere=True,
        signals=(signal.SIGKILL,),
    ),
    Cause(
        "crashed",
        r"died with <Signals\.(?:SIGSEGV|SIGABRT|SIGILL)|\(exitcode: -(?:11|6|4)\)|Segmentation fault|"
        r"Fatal Python error: (?:Segmentation|Aborted)",
        "The trainer's process crashed in one of its libraries. Go on with --resume; if it crashes again, set "
        "ATTENTION=sdpa and COMPILE=0, or mend the environment with musabi bootstrap.",
        retry=True,
        anywhere=True,
        signals=(signal.SIGSEGV, signal.SIGABRT, signal.SIGILL),
    ),
)
