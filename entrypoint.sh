#!/bin/sh
# PID 1 of the container: hands over to `musabi boot`, which starts everything and never ends because a child did.
# -P: a file in /workspace must not stand in for a module of Python's.
exec /opt/musabi/venv/bin/python -P -m musabi.pod.boot "$@"
