#!/bin/sh
# Train a LoRA with AdamW8bit. See: musabi train --help
set -eu
exec "$(dirname -- "$(readlink -f -- "$0")")/musabi.sh" train --optimizer adamw8bit "$@"
