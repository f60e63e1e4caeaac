#!/bin/sh
# Convert a LoRA for ComfyUI: convert_lora.sh IN [OUT]. See: musabi convert --help
set -eu
exec "$(dirname -- "$(readlink -f -- "$0")")/musabi.sh" convert "$@"
