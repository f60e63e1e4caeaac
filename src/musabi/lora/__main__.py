"""Converts one LoRA file as a step of a plan. What is wrong is one sentence on stderr."""

import errno
import sys
from collections.abc import Sequence

from musabi.errors import ExitCode, MachineError, MusabiError
from musabi.lora.command_line import arguments


def main(argv: Sequence[str]) -> int:
    """Convert one file; return the exit code."""
    try:
        print(_convert(argv), flush=True)
    except MusabiError as problem:
        return _tell(problem)
    except OSError as problem:
        return _tell(_plain(problem))
    return int(ExitCode.DONE)


def _convert(argv: Sequence[str]) -> str:
    from musabi.lora.convert import to_comfyui, to_native

    args = arguments(argv)
    done = (to_native if args.to == "to-native" else to_comfyui)(args.source, args.target, args.model)
    return f"{done.path}: {done.layers} layers." + (f" {done.note}." if done.note else "")


def _tell(problem: MusabiError) -> int:
    print(f"Error: {problem}", file=sys.stderr, flush=True)
    return int(problem.exit_code)


def _plain(problem: OSError) -> MachineError:
    where = problem.filename or "The file"
    if problem.errno in (errno.ENOSPC, errno.EDQUOT):
        return MachineError(f"{where} can't be written: the disk is full. Make room, then convert it again.")
    return MachineError(f"{where} can't be read or written: {problem.strerror}. Choose another folder.")


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
