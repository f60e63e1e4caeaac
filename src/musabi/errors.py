"""What went wrong, said for a person, with the exit code that a script reads.

A message is one or two plain sentences: what is wrong, where, and what to do next.
"""

from enum import IntEnum


class ExitCode(IntEnum):
    """The exit codes of every verb."""

    DONE = 0
    WRONG_REQUEST = 2
    MACHINE_CANNOT = 3
    TRAINER_FAILED = 4
    INTERRUPTED = 130
    TERMINATED = 143


class MusabiError(Exception):
    """Base of the errors that end a verb with a message instead of a traceback."""

    exit_code = ExitCode.MACHINE_CANNOT


class RequestError(MusabiError):
    """The arguments, the dataset, a setting or a file that was given is wrong."""

    exit_code = ExitCode.WRONG_REQUEST


class MachineError(MusabiError):
    """The machine can't do it: GPU, disk, driver, network, permissions, a missing environment."""

    exit_code = ExitCode.MACHINE_CANNOT


class TrainerError(MusabiError):
    """The trainer was started and failed."""

    exit_code = ExitCode.TRAINER_FAILED
