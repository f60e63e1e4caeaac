"""Runs the boot: `python -m musabi.pod.boot`, which the image's entrypoint becomes."""

import signal

# The kernel drops a signal that PID 1 has no handler for. Blocked, it waits for the handler.
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})

from musabi.pod.boot.sequence import main  # noqa: E402 - after the line above

main()
