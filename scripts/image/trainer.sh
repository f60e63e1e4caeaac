#!/bin/sh
# Build step of the target `full`: bootstrap musubi-tuner as a pod does, prove its pins, and lay out what is kept
# under /baked: venv (large, changes seldom), state and musubi-tuner (small).
set -eu
root=/opt/musabi
: "${MUSABI_STATE_DIR:?}" "${MUSUBI_TORCH_VERSION:?}" "${MUSUBI_TORCHVISION_VERSION:?}"
export WORKSPACE=/workspace SKIP_MODEL_DOWNLOAD=1 HF_HOME=/tmp/huggingface
export UV_CACHE_DIR=/tmp/uv-cache UV_PYTHON_INSTALL_DIR="$MUSABI_STATE_DIR/python" UV_LINK_MODE=hardlink
musabi bootstrap
"$root/venv/bin/python" "$root/scripts/image/check_pins.py" "$MUSABI_STATE_DIR/venv/bin/python" \
    "torch==$MUSUBI_TORCH_VERSION" "torchvision==$MUSUBI_TORCHVISION_VERSION"
mkdir /baked
mv "$MUSABI_STATE_DIR/venv" /baked/venv
mv "$MUSABI_STATE_DIR" /baked/state
mv "$WORKSPACE/musubi-tuner" /baked/musubi-tuner
