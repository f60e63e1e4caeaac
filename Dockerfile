# The images. Of a pod: slim (musubi-tuner comes at the first boot), full (it is baked in), cpu (slim with the
# diffusers engine, to rehearse without a GPU). Of a worker of Runpod Serverless: serverless. docs/image.md says what
# is built how. Written so that Docker and buildah 1.28 both read it: no heredocs, no COPY --link, no cache mounts.
ARG BASE_IMAGE=runpod/base:1.0.3-cuda1290-ubuntu2404

# Which versions: a stage that uses one names it again, without the default.
ARG VERSION=dev
ARG REVISION=unknown
ARG MUSUBI_REF=v0.3.4
ARG MUSUBI_REPO_URL=https://github.com/kohya-ss/musubi-tuner.git
ARG MUSUBI_PYTHON=3.12
ARG MUSUBI_CUDA_EXTRA=cu128
ARG MUSUBI_TORCH_VERSION=2.9.1
ARG MUSUBI_TORCHVISION_VERSION=0.24.1
# 1: diffusion-pipe is in `serverless`, too.
ARG DIFFUSION_PIPE=0

# What all have and what changes seldom: settings, system packages, requirements.
FROM ${BASE_IMAGE} AS system
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
# The base wishes for hf_transfer, which is fatal under musubi-tuner's hub 0.34.3 where that package is missing.
# Docker can't unset it, and empty is no value; with 0 nobody asks for it.
ENV HF_HUB_ENABLE_HF_TRANSFER=0 \
    MUSABI_STATE_DIR=/opt/musabi/state
WORKDIR /workspace
LABEL org.opencontainers.image.title="musabi-runpod" \
      org.opencontainers.image.description="Train diffusion LoRAs with musubi-tuner on a rented GPU" \
      org.opencontainers.image.source="https://github.com/gemneye/musabi-runpod" \
      org.opencontainers.image.licenses="Apache-2.0"

# A compiler and Python's headers are what triton and torch.compile build kernels with; libGL and glib are OpenCV's.
# Versions are the base's own; host keys are made by each pod.
# hadolint ignore=DL3008
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        build-essential ca-certificates git libgl1 libglib2.0-0 openssh-server python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/* /etc/ssh/ssh_host_*

COPY requirements /opt/musabi/requirements
COPY scripts /opt/musabi/scripts

# A pod: its tool environment from the committed, hashed requirements.
FROM system AS tools
EXPOSE 8888 6006
ENTRYPOINT ["/opt/musabi/entrypoint.sh"]
CMD []
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 CMD ["sh", "-c", "musabi health || exit 1"]
ARG MUSABI_EXTRAS="pod s3"
# hadolint ignore=SC2086
RUN /opt/musabi/scripts/image/tools.sh ${MUSABI_EXTRAS} && /opt/musabi/scripts/image/link.sh

# What changes with every commit, compiled: the last, small layer of slim and full.
FROM tools AS code
COPY *.sh pyproject.toml LICENSE dataset.toml.example sample_prompts.txt /code/
COPY notebooks /code/notebooks
COPY src /code/src
RUN /opt/musabi/venv/bin/python -m compileall -q --invalidation-mode unchecked-hash -s /code -p /opt/musabi /code/src

FROM tools AS slim
COPY --from=code /code /opt/musabi
ARG VERSION REVISION MUSUBI_REF
ENV MUSUBI_REF=${MUSUBI_REF} \
    MUSABI_IMAGE="slim ${VERSION} (musubi-tuner ${MUSUBI_REF})"
LABEL org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      musabi.musubi-ref="${MUSUBI_REF}"

FROM slim AS cpu
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN /opt/musabi/scripts/image/tools.sh diffusers
ARG VERSION
ENV ENGINE=diffusers \
    MUSABI_IMAGE="cpu ${VERSION}"

# musubi-tuner and its environment, made as a pod makes them.
FROM slim AS trainer
ARG MUSUBI_REPO_URL MUSUBI_PYTHON MUSUBI_CUDA_EXTRA MUSUBI_TORCH_VERSION MUSUBI_TORCHVISION_VERSION DIFFUSION_PIPE
RUN /opt/musabi/scripts/image/trainer.sh

FROM tools AS full
COPY --from=trainer /baked/venv /opt/musabi/state/venv
COPY --from=trainer /baked/state /opt/musabi/state
COPY --from=trainer /baked/musubi-tuner /opt/musabi/musubi-tuner
COPY --from=code /code /opt/musabi
ARG MUSUBI_REPO_URL MUSUBI_PYTHON MUSUBI_CUDA_EXTRA MUSUBI_TORCH_VERSION MUSUBI_TORCHVISION_VERSION
ARG VERSION REVISION MUSUBI_REF
ENV MUSUBI_REF=${MUSUBI_REF} \
    MUSUBI_REPO_URL=${MUSUBI_REPO_URL} \
    MUSUBI_PYTHON=${MUSUBI_PYTHON} \
    MUSUBI_CUDA_EXTRA=${MUSUBI_CUDA_EXTRA} \
    MUSUBI_TORCH_VERSION=${MUSUBI_TORCH_VERSION} \
    MUSUBI_TORCHVISION_VERSION=${MUSUBI_TORCHVISION_VERSION} \
    MUSABI_IMAGE="full ${VERSION} (musubi-tuner ${MUSUBI_REF})"
LABEL org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      musabi.musubi-ref="${MUSUBI_REF}"

# A worker: the process that takes jobs is PID 1; no JupyterLab, no open port, no health check, since Runpod goes by
# what the worker itself says. It uses the trainers where they lie in the image: a job copies, fetches and installs
# none, and is refused where its trainer is not here. musubi-tuner is installed as the one in /workspace.
FROM system AS service
ENV ENDPOINT_INSTALL_TRAINERS=0
ENTRYPOINT ["/opt/musabi/venv/bin/python", "-P", "-m", "musabi"]
CMD ["worker"]
RUN /opt/musabi/scripts/image/tools.sh serverless s3 && /opt/musabi/scripts/image/link.sh \
    && ln -s /opt/musabi/musubi-tuner /workspace/musubi-tuner

FROM service AS serverless
COPY --from=trainer /baked/venv /opt/musabi/state/venv
COPY --from=trainer /baked/diffusion-pipe-venv /opt/musabi/state/diffusion-pipe-venv
COPY --from=trainer /baked/state /opt/musabi/state
COPY --from=trainer /baked/musubi-tuner /opt/musabi/musubi-tuner
COPY --from=trainer /baked/diffusion-pipe /opt/musabi/diffusion-pipe
COPY --from=code /code /opt/musabi
ARG VERSION REVISION MUSUBI_REF
ENV MUSUBI_REF=${MUSUBI_REF} \
    MUSABI_IMAGE="serverless ${VERSION} (musubi-tuner ${MUSUBI_REF})"
LABEL org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      musabi.musubi-ref="${MUSUBI_REF}"

# Without --target, slim is built.
FROM slim AS default
