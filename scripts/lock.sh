#!/bin/sh
# Write requirements/*.txt anew: one hashed file an extra, no addresses, without torch.
# torch is left to the installer, since its build (CPU or CUDA) depends on the machine.
set -eu
cd "$(dirname -- "$0")/.."
uv lock --quiet
export_extra() {
    uv export --quiet --frozen --no-emit-index-url --no-emit-project --no-header --no-annotate --no-default-groups \
        --prune torch "$@"
}
export_extra -o requirements/base.txt
for extra in diffusers pod serverless s3 dev; do
    export_extra --extra "$extra" -o "requirements/$extra.txt"
done
