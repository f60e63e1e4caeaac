#!/bin/sh
# Set the workspace up: folders, musubi-tuner, its environment, weights. See: musabi bootstrap --help
set -eu
exec "$(dirname -- "$(readlink -f -- "$0")")/musabi.sh" bootstrap "$@"
