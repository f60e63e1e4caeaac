"""Why a step of musubi-tuner failed, told from the end of its output: a table of known causes."""

import re
from dataclasses import dataclass
from typing import Literal

from musabi.errors import ExitCode
from musabi.job.engine import Failure
from musabi.job.plan import Step

REQUEST, MACHINE, TRAINER = ExitCode.WRONG_REQUEST, ExitCode.MACHINE_CANNOT, ExitCode.TRAINER_FAILED
Phase = Literal["cache", "train", "convert", "sample"]


@dataclass(frozen=True)
class Cause:
    """A pattern in the output, and what it means and what to do; {0}, {1} are the pattern's groups.

    Where `phases` is given, the cause counts for these steps only.
    """

    pattern: str
    message: str
    exit_code: ExitCode = TRAINER
    phases: tuple[Phase, ...] = ()


_OUT_OF_MEMORY = r"OutOfMemoryError|CUDA out of memory|CUBLAS_STATUS_ALLOC_FAILED|CUDNN_STATUS_ALLOC_FAILED"

CAUSES: tuple[Cause, ...] = (
    Cause(
        r"No space left on device|os error 28|Disk quota exceeded|PytorchStreamWriter failed writing|"
        r"inline_container\.cc.*unexpected pos",
        "The disk is full, so a file could not be written. Make room, then go on with --resume.",
        MACHINE,
    ),
    Cause(
        _OUT_OF_MEMORY,
        "The GPU's memory ran out. Set BLOCKS_TO_SWAP=16 (28 at most), lower the resolution or the "
        "batch_size in the dataset TOML, or take a GPU with more memory.",
        MACHINE,
        ("train",),
    ),
    Cause(
        _OUT_OF_MEMORY,
        "The GPU's memory ran out while caching. Set LATENT_BATCH_SIZE=1 and TEXT_ENCODER_BATCH_SIZE=1, "
        "end other programs that use the GPU, or cache on the CPU with LATENT_DEVICE=cpu and "
        "TEXT_ENCODER_DEVICE=cpu.",
        MACHINE,
        ("cache",),
    ),
    Cause(
        _OUT_OF_MEMORY,
        "The GPU's memory ran out while sampling. Set BLOCKS_TO_SWAP=16, or render smaller pictures with "
        "--w and --h in the prompt file.",
        MACHINE,
        ("sample",),
    ),
    Cause(
        r"insufficient shared memory|Unexpected bus error encountered in worker",
        "The container's shared memory (/dev/shm) is too small for the data loader. Start the container "
        "with a larger one, or train with: -- --max_data_loader_n_workers 0",
        MACHINE,
    ),
    Cause(
        r"DataLoader worker \(pid[^)]*\) (?:is killed by signal: Killed|exited unexpectedly)",
        "A data loader process was ended from outside, most likely because main memory ran out. "
        "End other programs, or take a machine with more memory.",
        MACHINE,
    ),
    Cause(
        r"no kernel image is available for execution",
        "The installed torch was not built for this GPU. Choose another MUSUBI_TORCH_VERSION or "
        "MUSUBI_CUDA_EXTRA and run musabi bootstrap.",
        MACHINE,
    ),
    Cause(
        r"driver on your system is too old|CUDA driver version is insufficient",
        "The GPU's driver is older than the installed torch needs. Choose a machine with a newer driver, "
        "or an older MUSUBI_CUDA_EXTRA and run musabi bootstrap.",
        MACHINE,
    ),
    Cause(
        r"Found no NVIDIA driver|Torch not compiled with CUDA enabled|No CUDA GPUs are available",
        "The trainer found no GPU that it can use. Start it on a machine with a GPU; "
        "without one, unset BLOCKS_TO_SWAP.",
        MACHINE,
    ),
    Cause(
        r"CUDA error: (?P<what>[^\n]+)",
        "The GPU failed: {0}. Go on with --resume; if it fails again, take another machine.",
        MACHINE,
    ),
    Cause(
        r"address already in use|EADDRINUSE",
        "Another training on this machine uses the port that the GPUs talk over. Wait for it to end.",
        MACHINE,
    ),
    Cause(
        r"No module named '([^']+)'",
        "The trainer's environment lacks the Python package {0}. Run musabi bootstrap to mend it.",
        MACHINE,
    ),
    Cause(
        r"operator torchvision::nms does not exist",
        "torch and torchvision in the trainer's environment don't match. Run musabi bootstrap to mend it.",
        MACHINE,
    ),
    Cause(
        r"No training items found",
        "The trainer found no cached image in the dataset. Check it with: musabi check. Then cache with: "
        "musabi prepare",
        REQUEST,
    ),
    Cause(
        r"extra keys not allowed @ data(\S+)",
        "The dataset TOML has a key that musubi-tuner does not know: {0}. Check it with: musabi check.",
        REQUEST,
    ),
    Cause(
        r"cannot identify image file '([^']+)'",
        "{0} is no picture that can be read. Replace or remove it.",
        REQUEST,
    ),
    Cause(
        r"image file is truncated",
        "A picture of the dataset is cut off. Find it with: musabi check.",
        REQUEST,
    ),
    Cause(
        r"Image size too small: (\S+)",
        "The picture {0} is too small for its bucket. Remove it, or raise the resolution in the dataset "
        "TOML.",
        REQUEST,
    ),
    Cause(
        r"expected str, bytes or os\.PathLike object, not NoneType|Can't load tokenizer|"
        r"LocalEntryNotFoundError|OfflineModeIsEnabled|outgoing traffic has been disabled",
        "The tokenizer is not in the hub cache, or is not whole. Run musabi bootstrap to fetch it.",
        MACHINE,
        ("cache", "train", "sample"),
    ),
    Cause(
        r"shape '\[[^]]*\]' is invalid for input of size|MetadataIncompleteBuffer|HeaderTooLarge|"
        r"InvalidHeader|HeaderTooSmall|Error while deserializing header|JSONDecodeError",
        "A weight or cache file is cut off. Fetch the weights again with musabi bootstrap, then cache again "
        "with: musabi prepare",
        MACHINE,
    ),
    Cause(
        r"Error\(s\) in loading state_dict for (\w+)",
        "A weight file belongs to another model: it does not fit {0}. Check DIT_PATH, VAE_PATH and "
        "TEXT_ENCODER_PATH.",
        REQUEST,
    ),
    Cause(
        r"optimizer got an empty parameter list|create LoRA for U-Net/DiT: 0 modules",
        "The LoRA matched no part of the model, so there is nothing to train. Check --network_module, "
        "--network_args and --base_weights among the extra arguments.",
        REQUEST,
    ),
    Cause(
        r"'NoneType' object is not callable|has no attribute 'memory_efficient_attention'|"
        r"Unsupported attention mode",
        "The attention kind that was asked for is not installed. Leave its flag out: SDPA is used.",
        MACHINE,
        ("train", "sample"),
    ),
    Cause(
        r"error: (unrecognized arguments: [^\n]+|argument [^\n]+|ambiguous option: [^\n]+)",
        "The script refused its arguments: {0}. Correct what follows the --.",
        REQUEST,
    ),
    Cause(
        r"No such file or directory: '([^']+)'",
        "{0} is not there. Correct the path, or fetch it with musabi bootstrap.",
        REQUEST,
    ),
    Cause(
        r"Permission denied: '([^']+)'",
        "{0} can't be read or written. Mend its permissions, or choose another folder.",
        MACHINE,
    ),
    Cause(
        r"Read-only file system: '([^']+)'",
        "{0} lies on a disk that can't be written to. Choose another folder with OUTPUT_DIR or LOGGING_DIR.",
        MACHINE,
    ),
)

_EXCEPTION = re.compile(r"^(?:[\w.]+\.)?(\w*(?:Error|Exception|Invalid|Interrupt)): ?(.*)$", re.MULTILINE)
KILLED = -9


def explain(step: Step, exit_code: int, tail: str) -> Failure:
    """Return why the step failed: a known cause, told by the traceback first, or the last exception."""
    _, _, traceback = tail.partition("Traceback (most recent call last)")
    known = _known(step, traceback or tail)
    if known is not None:
        return known
    if exit_code == KILLED or "died with <Signals.SIGKILL" in tail:
        return Failure(
            f"{step.title}: the system ended it, most likely because main memory ran out. "
            "End other programs, or take a machine with more memory.",
            MACHINE,
        )
    return Failure(
        f"{step.title} failed: {_last_words(tail, exit_code)} The log has the whole output.", TRAINER
    )


def _known(step: Step, text: str) -> Failure | None:
    phase = step.name.partition("-")[0]
    for cause in CAUSES:
        match = re.search(cause.pattern, text)
        if match and (not cause.phases or phase in cause.phases):
            return Failure(cause.message.format(*match.groups()), cause.exit_code)
    return None


def _last_words(tail: str, exit_code: int) -> str:
    """Return the last exception that is not accelerate's own, as one sentence."""
    found = [match for match in _EXCEPTION.findall(tail) if match[0] != "CalledProcessError"]
    if not found:
        return f"it ended with code {exit_code}."
    kind, words = found[-1]
    said = words.partition(" / ")[0].strip().rstrip(".")
    return f"{kind}: {said[:300]}." if said else f"{kind}."
