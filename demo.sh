#!/bin/sh
# From an empty folder to a trained LoRA, on a CPU: ./demo.sh [--serve]
# Runs the very steps a pod user runs, on a small model that it makes. A second run does only what is left.
# --serve opens JupyterLab on the demo's workspace afterwards.
set -eu
cd "$(dirname -- "$0")"
case "${1-}" in
"") extras="diffusers" ;;
--serve) extras="diffusers pod" ;;
*)
    echo "Error: ./demo.sh takes no argument but --serve." >&2
    exit 2
    ;;
esac
# shellcheck disable=SC2086 # a list of extras
scripts/setup.sh $extras

begun=$(date +%s)
export WORKSPACE="${DEMO_WORKSPACE-$PWD/.demo}" ENGINE=diffusers OUTPUT_NAME=demo
export HF_HOME="$WORKSPACE/.cache/huggingface" MUSABI_STATE_DIR="$WORKSPACE/.state"
export NETWORK_DIM=16 NETWORK_ALPHA=16 MAX_TRAIN_EPOCHS=100 SAVE_EVERY_N_EPOCHS=25 SAMPLE_EVERY_N_EPOCHS=25
lora="$WORKSPACE/output/demo.safetensors"

step() {
    printf '\n[%s/8] %s\n' "$1" "$2"
}

# Tell whether FOLDER holds a file like PATTERN that was made after the LoRA, and say so.
made_since() {
    if [ -n "$(find "$1" -name "$2" -newer "$lora" 2>/dev/null)" ]; then echo "There already, in $1"; else return 1; fi
}

step 1 "Set the workspace up"
./bootstrap.sh
step 2 "Make a tiny model and draw a dataset"
./musabi.sh models make-tiny --demo-data
step 3 "Check the dataset"
./musabi.sh check
step 4 "Prepare: cache latents and captions"
./prepare_dataset.sh
step 5 "Train with Prodigy"
./train_lora_prodigy.sh --continue --overwrite
step 6 "Convert for ComfyUI"
made_since "$WORKSPACE/output/comfyui" demo.safetensors || ./convert_lora.sh "$lora"
step 7 "Sample"
made_since "$WORKSPACE/output/sample" 'demo_[0-9]*.png' || ./musabi.sh sample "$lora"
step 8 "Report"
./musabi.sh report

printf '\nDone in %s s. What was made:\n' "$(($(date +%s) - begun))"
for made in "$lora" "$WORKSPACE"/output/comfyui/*.safetensors "$WORKSPACE"/output/sample \
    "$WORKSPACE"/logs "$WORKSPACE"/output/*-report.html; do
    printf '  %s\n' "$made"
done
if [ "${1-}" = --serve ]; then
    root=""
    if [ "$(id -u)" = 0 ]; then root=--allow-root; fi
    exec .venv/bin/jupyter lab --ip 127.0.0.1 --notebook-dir "$WORKSPACE" $root
fi
