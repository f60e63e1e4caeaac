#!/bin/sh
# Build step of the targets `full` and `serverless`: bootstrap musubi-tuner as a pod does, prove its pins, and lay out
# what is kept under /baked: venv (large, changes seldom), state and musubi-tuner (small). With DIFFUSION_PIPE=1 that
# program and its environment are made in the same way, too; without it their two folders are empty.
set -eu
root=/opt/musabi
: "${MUSABI_STATE_DIR:?}" "${MUSUBI_TORCH_VERSION:?}" "${MUSUBI_TORCHVISION_VERSION:?}"
export WORKSPACE=/workspace SKIP_MODEL_DOWNLOAD=1 HF_HOME=/tmp/huggingface
export UV_CACHE_DIR=/tmp/uv-cache UV_PYTHON_INSTALL_DIR="$MUSABI_STATE_DIR/python" UV_LINK_MODE=hardlink
musabi bootstrap
"$root/venv/bin/python" "$root/scripts/image/check_pins.py" "$MUSABI_STATE_DIR/venv/bin/python" \
    "torch==$MUSUBI_TORCH_VERSION" "torchvision==$MUSUBI_TORCHVISION_VERSION"
if [ "${DIFFUSION_PIPE:-0}" = 1 ]; then
    musabi bootstrap --engine diffusion_pipe
    "$root/venv/bin/python" "$root/scripts/image/check_pins.py" "$MUSABI_STATE_DIR/diffusion-pipe-venv/bin/python" \
        "torch==$MUSUBI_TORCH_VERSION" "torchvision==$MUSUBI_TORCHVISION_VERSION"
fi
mkdir -p /baked "$MUSABI_STATE_DIR/diffusion-pipe-venv" "$WORKSPACE/diffusion-pipe"
mv "$MUSABI_STATE_DIR/diffusion-pipe-venv" /baked/diffusion-pipe-venv
mv "$MUSABI_STATE_DIR/venv" /baked/venv
mv "$MUSABI_STATE_DIR" /baked/state
mv "$WORKSPACE/musubi-tuner" /baked/musubi-tuner
mv "$WORKSPACE/diffusion-pipe" /baked/diffusion-pipe
