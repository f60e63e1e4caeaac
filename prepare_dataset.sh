#!/bin/sh
# Check the dataset and cache it. See: musabi prepare --help
set -eu
exec "$(dirname -- "$(readlink -f -- "$0")")/musabi.sh" prepare "$@"
