#!/bin/sh
# Train a LoRA with Prodigy. See: musabi train --help
set -eu
exec "$(dirname -- "$(readlink -f -- "$0")")/musabi.sh" train --optimizer prodigy "$@"
