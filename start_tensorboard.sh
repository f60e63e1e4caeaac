#!/bin/sh
# Show the loss curves. See: musabi tensorboard --help
set -eu
exec "$(dirname -- "$(readlink -f -- "$0")")/musabi.sh" tensorboard "$@"
