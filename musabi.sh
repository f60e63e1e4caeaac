#!/bin/sh
# Run `musabi` from this checkout's environment, or the one that is installed.
set -eu
here=$(dirname -- "$(readlink -f -- "$0")")
for program in "$here/.venv/bin/musabi" /opt/musabi/venv/bin/musabi; do
    if [ -x "$program" ]; then exec "$program" "$@"; fi
done
if command -v musabi >/dev/null; then exec musabi "$@"; fi
echo "Error: musabi is not installed. Run once: $here/scripts/setup.sh pod" >&2
exit 3
