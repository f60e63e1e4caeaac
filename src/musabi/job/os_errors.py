"""Errors of the operating system, in words."""

import errno

DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""No room, no quota, or a larger file than may be."""


def plain_os_error(problem: OSError) -> str:
    """Return an operating-system error as a sentence with its mend."""
    where = problem.filename or "a file"
    mends = {
        "No space left on device": "Free some space or give the volume more, then go on with --resume.",
        "Read-only file system": "Choose a folder that can be written to.",
        "Permission denied": "Choose a folder that you may write to.",
        "Is a directory": "It is a folder: name a file.",
    }
    reason = problem.strerror or str(problem)
    return f"{where}: {reason}. {mends.get(reason, 'Look at the log for more.')}"
