#!/bin/sh
# Make .venv in this checkout and install musabi with the extras that are named: scripts/setup.sh EXTRA...
# Does nothing where the environment was made from the same files already. Installs nothing elsewhere.
set -eu
cd "$(dirname -- "$0")/.."
torch=2.13.0
cpu_index=https://download.pytorch.org/whl/cpu

fail() {
    echo "Error: $1" >&2
    exit 3
}

find_python() {
    for name in python3.11 python3.12 python3.13 python3; do
        if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$name"
            return
        fi
    done
    fail "Python 3.11 or 3.12 is needed and was not found. Install it (Debian, Ubuntu: apt-get install python3 python3-venv)."
}

make_environment() {
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        fail "This Python has no venv module. Install it (Debian, Ubuntu: apt-get install python3-venv)."
    rm -rf .venv
    "$python" -m venv .venv
}

# pip is asked first, under its own configuration; where its build would bring CUDA packages, the CPU index is used.
install_torch() {
    brings_cuda='import json, sys
names = [item["metadata"]["name"].lower() for item in json.load(sys.stdin)["install"]]
sys.exit(any(name.startswith(("nvidia-", "cuda-", "triton")) for name in names))'
    if pip install --quiet --dry-run --report - "torch==$torch" 2>/dev/null >.venv/torch.json &&
        "$python" -c "$brings_cuda" <.venv/torch.json; then
        pip install --quiet "torch==$torch"
    else
        pip install --quiet "torch==$torch" --index-url "$cpu_index" ||
            fail "torch $torch for the CPU could not be installed for this Python. Try Python 3.11, or look at the lines above."
    fi
}

pip() {
    .venv/bin/python -m pip --disable-pip-version-check "$@"
}

command -v git >/dev/null || fail "git is needed and was not found. Install it (Debian, Ubuntu: apt-get install git)."
python=$(find_python)
stamp="$("$python" -V) $torch $(cat pyproject.toml scripts/setup.sh requirements/*.txt | git hash-object --stdin)"
installed=""
if [ "$(sed -n 1p .venv/setup-stamp 2>/dev/null)" = "$stamp" ]; then
    installed=$(sed -n 2p .venv/setup-stamp)
else
    echo "Setting up .venv with $("$python" -V). The first time, this downloads about 300 MB."
    make_environment
fi

for extra in base "$@"; do
    case " $installed " in *" $extra "*) continue ;; esac
    if [ "$extra" = diffusers ]; then
        echo "Installing torch $torch"
        install_torch
    fi
    echo "Installing requirements/$extra.txt"
    pip install --quiet --no-deps --require-hashes -r "requirements/$extra.txt"
    if [ "$extra" = base ]; then pip install --quiet --no-deps -e .; fi
    installed="$installed $extra"
    printf '%s\n%s\n' "$stamp" "$installed" >.venv/setup-stamp
done
