#!/bin/sh
# Boot a built image in Docker without a GPU, wait until it is healthy, and stop it: smoke.sh IMAGE
# It has passed where JupyterLab answers and PID 1 ends by itself within the 5 s that Runpod gives.
set -eu
container=$(docker run --detach --env RUN_BOOTSTRAP_ON_START=0 "$1")
trap 'docker rm --force "$container" >/dev/null' EXIT

seconds=0
until docker exec "$container" musabi health; do
    seconds=$((seconds + 1))
    if [ "$seconds" -gt 60 ]; then
        docker logs "$container"
        echo "Error: the container is not healthy after 60 tries." >&2
        exit 1
    fi
    sleep 1
done
docker stop --time 5 "$container" >/dev/null
code=$(docker inspect --format '{{.State.ExitCode}}' "$container")
docker logs "$container"
if [ "$code" != 143 ]; then
    echo "Error: the container ended with $code, not 143: it did not end by itself within 5 s." >&2
    exit 1
fi
