#!/bin/sh
# Set the environment up and run the tests: ./test.sh [--full] [arguments for pytest]
# --full plays the long series whole; without it they are played in part, the same part each time.
set -eu
cd "$(dirname -- "$0")"
scripts/setup.sh dev diffusers pod serverless
series="not full"
if [ "${1-}" = --full ]; then
    series="slow or not slow"
    shift
fi
PATH="$PWD/.venv/bin:$PATH"
export PATH OMP_NUM_THREADS="${OMP_NUM_THREADS-1}"
exec python -m pytest -m "$series" "$@"
