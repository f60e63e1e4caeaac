#!/bin/sh
# Build step: make the tool environment, or add to it: tools.sh EXTRA...
# What is installed is in requirements/, by hash; torch, which the extra `diffusers` needs, is the CPU's.
set -eu
root=/opt/musabi
index=${TORCH_INDEX:-https://download.pytorch.org/whl/cpu}
python=$root/venv/bin/python

pip() {
    "$python" -m pip --disable-pip-version-check --no-cache-dir --quiet "$@"
}

test -x "$python" || python3 -m venv "$root/venv"
for extra in base "$@"; do
    if [ "$extra" = diffusers ]; then
        torch=$(sed -n 's/^torch=//p' "$root/scripts/setup.sh")
        pip install "torch==$torch" --index-url "$index"
        pip install --no-deps --require-hashes -r "$root/requirements/$extra.txt"
        "$python" "$root/scripts/image/check_pins.py" "$python" "torch==$torch"
    else
        pip install --no-deps --require-hashes -r "$root/requirements/$extra.txt"
    fi
done
