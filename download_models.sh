#!/bin/sh
# Fetch files from the Hugging Face Hub. See: musabi models download --help
set -eu
exec "$(dirname -- "$(readlink -f -- "$0")")/musabi.sh" models download "$@"
