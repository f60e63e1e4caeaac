"""GPUs: memory, drivers, several of them."""

from musabi.engines.musubi.causes.cause import MACHINE, REQUEST, Cause

_OUT_OF_MEMORY = r"OutOfMemoryError|CUDA out of memory|CUDA error: out of memory|CU\w+_STATUS_ALLOC_FAILED"

MACHINE_ROWS: tuple[Cause, ...] = (
    Cause(
        "gpu_memory_training",
        _OUT_OF_MEMORY,
        "The GPU's memory ran out. Raise BLOCKS_TO_SWAP, set DIT_PRECISION=fp8, lower the resolution or the "
        "batch_size in the dataset TOML, or take a GPU with more memory.",
        MACHINE,
        ("train",),
        "memory",
    ),
    Cause(
        "gpu_memory_caching",
        _OUT_OF_MEMORY,
        "The GPU's memory ran out while caching. Set LATENT_BATCH_SIZE=1 and TEXT_ENCODER_BATCH_SIZE=1, "
        "end other programs that use the GPU, or cache on the CPU with LATENT_DEVICE=cpu and "
        "TEXT_ENCODER_DEVICE=cpu.",
        MACHINE,
        ("cache",),
        "memory",
    ),
    Cause(
        "gpu_memory_sampling",
        _OUT_OF_MEMORY,
        "The GPU's memory ran out while sampling. Raise BLOCKS_TO_SWAP, or render smaller pictures with "
        "--w and --h in the prompt file.",
        MACHINE,
        ("sample",),
        "memory",
    ),
    Cause(
        "no_kernel_image",
        r"no kernel image is available for execution",
        "The installed torch was not built for this GPU. Choose another MUSUBI_TORCH_VERSION or "
        "MUSUBI_CUDA_EXTRA and run musabi bootstrap.",
        MACHINE,
    ),
    Cause(
        "driver_too_old",
        r"driver on your system is too old|CUDA driver version is insufficient",
        "The GPU's driver is older than the installed torch needs. Choose a machine with a newer driver, "
        "or an older MUSUBI_CUDA_EXTRA and run musabi bootstrap.",
        MACHINE,
    ),
    Cause(
        "no_gpu",
        r"Found no NVIDIA driver|Torch not compiled with CUDA enabled|No CUDA GPUs are available",
        "The trainer found no GPU that it can use. Start it on a machine with a GPU; "
        "without one, unset BLOCKS_TO_SWAP.",
        MACHINE,
    ),
    Cause(
        "fp16_needs_gpu",
        r"fp16 mixed precision requires a (?:GPU|device)",
        "The trainer was told to use fp16, but sees no GPU. Run musabi doctor; where accelerate was configured "
        "by hand, set gpu_ids to 0 or all in its configuration.",
        MACHINE,
    ),
    Cause(
        "xformers_failed",
        r"CUDA error \([^)]*xformers[^)]*\)|No operator found for `memory_efficient_attention|"
        r"xFormers can't load C\+\+/CUDA extensions",
        "xformers does not work with this GPU or this torch. Set ATTENTION=sdpa.",
        MACHINE,
        ("train", "sample"),
    ),
    Cause(
        "gpu_number",
        r"CUDA error: invalid device ordinal",
        "The training was started on more GPUs than this machine shows. Set GPUS to the number that nvidia-smi "
        "lists.",
        REQUEST,
    ),
    Cause(
        "gpu_failed",
        r"CUDA error: (?!no kernel image|out of memory|invalid device ordinal)([^\n]+)|"
        r"(uncorrectable ECC error encountered)|(cuDNN error: CUDNN_STATUS_(?!ALLOC)\w+)|"
        r"(CUBLAS_STATUS_(?!ALLOC)\w+)",
        "The GPU failed: {0}. Go on with --resume; if it fails again, take another machine.",
        MACHINE,
        retry=True,
    ),
    Cause(
        "port_taken",
        r"address already in use|EADDRINUSE",
        "Another training on this machine uses the port that the GPUs talk over. Wait for it to end.",
        MACHINE,
        retry=True,
    ),
    Cause(
        "gpus_waited",
        r"Watchdog caught collective operation timeout|Some NCCL operations have failed or timed out",
        "One GPU waited in vain for another. Go on with --resume; if it happens again, train on one with GPUS=1.",
        MACHINE,
        retry=True,
        anywhere=True,
        echo=True,
    ),
    Cause(
        "gpus_lost_each_other",
        r"DistBackendError|NCCL error|ncclSystemError|ncclRemoteError|ncclUnhandledCudaError|"
        r"Connection closed by peer \[",
        "The GPUs lost the connection to each other. Go on with --resume; if it happens again, set "
        "NCCL_P2P_DISABLE=1, or train on one with GPUS=1.",
        MACHINE,
        retry=True,
        echo=True,
    ),
)
