"""Why diffusion-pipe failed, from the end of its output: a table of known causes, the first that fits."""

import re
from dataclasses import dataclass

from musabi.errors import ExitCode
from musabi.job.engine import Failure, FailureKind

LONGEST_REASON = 300


@dataclass(frozen=True)
class Cause:
    """A known cause. The message may use the pattern's named groups."""

    name: str
    pattern: re.Pattern[str]
    message: str
    code: ExitCode = ExitCode.TRAINER_FAILED
    kind: FailureKind = "other"
    retry: bool = False


def _cause(
    name: str,
    pattern: str,
    message: str,
    code: ExitCode = ExitCode.TRAINER_FAILED,
    kind: FailureKind = "other",
    *,
    retry: bool = False,
) -> Cause:
    return Cause(name, re.compile(pattern), message, code, kind, retry)


REQUEST, MACHINE = ExitCode.WRONG_REQUEST, ExitCode.MACHINE_CANNOT
BOOTSTRAP = "Run musabi bootstrap --engine diffusion_pipe."
CAUSES = (
    _cause(
        "gpu_memory",
        r"OutOfMemoryError|CUDA out of memory|CUDA error: out of memory|CUBLAS_STATUS_ALLOC_FAILED",
        "The GPU's memory ran out. Lower resolution or batch_size, set blocks_to_swap, or use a larger GPU.",
        MACHINE,
        "memory",
    ),
    _cause(
        "disk_full",
        r"No space left on device|Disk quota exceeded|PytorchStreamWriter failed writing file",
        "The disk is full. Make room on the volume, or save less often (save_every_n_epochs).",
        MACHINE,
        "disk",
    ),
    _cause(
        "no_gpu",
        r"no GPU resources available|No CUDA GPUs are available|Found no NVIDIA driver|CUDA driver version is insuff",
        "There is no GPU that diffusion-pipe can use. It trains on NVIDIA GPUs only.",
        MACHINE,
    ),
    _cause(
        "no_nvcc",
        r"MissingCUDAException|CUDA_HOME does not exist|CUDA_HOME environment variable is not set|nvcc.*not found",
        f"DeepSpeed wants nvcc for this optimizer and finds none. Choose adamw_optimi, or install it. {BOOTSTRAP}",
        MACHINE,
    ),
    _cause(
        "port",
        r"EADDRINUSE|address already in use",
        "The port that the trainer chose was taken in that moment. Start the job again.",
        MACHINE,
        retry=True,
    ),
    _cause(
        "no_save_interval",
        r"assert 'save_every_n_epochs' in config",
        "diffusion-pipe wants to be told how often it saves. Set save_every_n_epochs.",
        REQUEST,
    ),
    _cause(
        "model_type",
        r"NotImplementedError: Model type (?P<what>\S+) is not implemented",
        "diffusion-pipe at this commit has no model type {what}.",
        REQUEST,
    ),
    _cause(
        "clip_mode",
        r"video_clip_mode=(?P<what>\S+) is not recognized",
        "video_clip_mode can be single_beginning or single_middle; {what} is gone from diffusion-pipe.",
        REQUEST,
    ),
    _cause(
        "alpha",
        r"This script forces alpha=rank",
        "diffusion-pipe always trains with alpha = rank. Leave alpha out.",
        REQUEST,
    ),
    _cause(
        "block_swap",
        r"Block swapping only works|block swap.*not (?:supported|implemented)|has no attribute 'enable_block_swap'",
        "blocks_to_swap does not work here: this model can't swap blocks, or pipeline_stages is not 1.",
        REQUEST,
    ),
    _cause(
        "wants_videos",
        r"i2v/flf2v must train on videos",
        "This image-to-video model trains on videos only. Leave the images out.",
        REQUEST,
    ),
    _cause(
        "optimizer",
        r"module 'pytorch_optimizer' has no attribute '(?P<what>\w+)'",
        "There is no optimizer {what} in diffusion-pipe's environment.",
        REQUEST,
    ),
    _cause(
        "optimizer_key",
        r"__init__\(\) got an unexpected keyword argument '(?P<what>\w+)'",
        "The optimizer does not know the key {what}. Leave it out, or choose another optimizer.",
        REQUEST,
    ),
    _cause(
        "no_data",
        r"Processed dataset was empty|had no images/videos!",
        "Nothing of the dataset was left to train on: no size bucket fills one step (batch_size times"
        " gradient_accumulation_steps), or no file has a caption. Lower these two, or raise the repeats.",
        REQUEST,
    ),
    _cause(
        "offline",
        r"LocalEntryNotFoundError|OfflineModeIsEnabled|offline mode is enabled|couldn't connect to '?https://hugg",
        "A file of the model is missing in the Hugging Face cache, and the trainer runs offline."
        " Fetch it with musabi models download.",
        MACHINE,
    ),
    _cause(
        "missing_file",
        r"FileNotFoundError: \[Errno 2\] No such file or directory: '(?P<what>[^']+)'",
        "diffusion-pipe did not find {what}. Fetch the model again, or look whether the volume is there.",
        MACHINE,
    ),
    _cause(
        "broken_weights",
        r"SafetensorError|HeaderTooLarge|invalid load key|MetadataIncompleteBuffer",
        "A file of the weights is broken. Delete it and fetch it again.",
        MACHINE,
    ),
    _cause(
        "environment",
        r"(?:ModuleNotFoundError|ImportError): (?P<what>[^\n]+)",
        "diffusion-pipe's environment is not whole: {what}. " + BOOTSTRAP,
        MACHINE,
    ),
    _cause(
        "killed",
        r"return code = -9\b",
        "The trainer was killed, most likely because the machine's memory ran out. Use a machine with more memory.",
        MACHINE,
    ),
)


def explain(code: int, tail: str) -> Failure:
    """Return why the trainer failed. `tail` is the end of its output, `code` its exit code."""
    for cause in CAUSES:
        match = cause.pattern.search(tail)
        if match:
            said = cause.message.format(**{name: text or "" for name, text in match.groupdict().items()})
            return Failure(said, cause.code, cause.name, cause.kind, cause.retry)
    reason = _last_error(tail)
    said = f"diffusion-pipe failed: {reason}" if reason else f"diffusion-pipe ended with exit code {code}"
    return Failure(f"{said.rstrip('.')}. The run's log.txt holds all that it said.")


def _last_error(tail: str) -> str | None:
    """Return the last line that names a Python error."""
    errors = [
        line.strip()
        for line in tail.splitlines()
        if re.match(r"(?:\[rank\d\]: ?)?[\w.]*(?:Error|Exception)\b", line)
    ]
    return errors[-1][:LONGEST_REASON] if errors else None
