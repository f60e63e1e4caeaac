"""One sentence for each way to fail, from what the real trainer printed."""

from collections.abc import Callable

import pytest

from musabi.engines.musubi.engine import MusubiEngine
from musabi.engines.musubi.explain import CAUSES
from musabi.errors import ExitCode
from musabi.job.plan import Step, StepName

Recording = Callable[[str], str]
REQUEST, MACHINE, TRAINER = ExitCode.WRONG_REQUEST, ExitCode.MACHINE_CANNOT, ExitCode.TRAINER_FAILED

RECORDED: dict[str, tuple[StepName, int, ExitCode, str]] = {
    "argparse": ("train", 2, REQUEST, "unrecognized arguments: --no_such_flag 3"),
    "badimg": ("cache-latents", 1, REQUEST, "cut off. Find it with: musabi check"),
    "cut": ("train", 1, MACHINE, "weight or cache file is cut off"),
    "disk": ("train", 1, MACHINE, "disk is full"),
    "flash": ("train", 1, MACHINE, "attention kind"),
    "no_items": ("train", 1, REQUEST, "no cached image"),
    "no_module": ("train", 1, MACHINE, "package nosuchpackage. Run musabi bootstrap"),
    "swap_cpu": ("train", 1, MACHINE, "unset BLOCKS_TO_SWAP"),
    "tokenizer": ("cache-text", 1, MACHINE, "tokenizer is not in the hub cache"),
    "wrong_model": ("train", 1, REQUEST, "does not fit ZImageTransformer2DModel"),
}

SAID = {
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.": ("train", "BLOCKS_TO_SWAP=16"),
    "torch.cuda.OutOfMemoryError: CUDA out of memory.": ("cache-latents", "LATENT_BATCH_SIZE=1"),
    "torch.OutOfMemoryError: CUDA out of memory. ": ("sample", "--w and --h"),
    "RuntimeError: unable to write to file: insufficient shared memory (shm)": ("train", "shared memory"),
    "RuntimeError: CUDA error: no kernel image is available for execution on the device": (
        "train",
        "MUSUBI_TORCH_VERSION",
    ),
    "RuntimeError: CUDA error: an illegal memory access was encountered": (
        "train",
        "The GPU failed: an illegal",
    ),
    "RuntimeError: operator torchvision::nms does not exist": ("train", "torch and torchvision"),
    "PermissionError: [Errno 13] Permission denied: '/workspace/output/x'": (
        "train",
        "/workspace/output/x can't",
    ),
    "OSError: [Errno 30] Read-only file system: '/workspace/logs'": ("train", "LOGGING_DIR"),
    "PIL.UnidentifiedImageError: cannot identify image file '/workspace/dataset/images/a.png'": (
        "cache-latents",
        "/workspace/dataset/images/a.png is no picture",
    ),
    "MultipleInvalid: extra keys not allowed @ data['datasets'][0]['repeats']": (
        "train",
        "['datasets'][0]['repeats']",
    ),
}


def step(name: StepName) -> Step:
    return Step(name=name, title="Train the LoRA", argv=())


@pytest.mark.parametrize("name", RECORDED)
def test_a_real_failure_is_explained(name: str, engine: MusubiEngine, recording: Recording) -> None:
    at, code, exit_code, words = RECORDED[name]
    failure = engine.explain(step(at), code, recording(f"failed_{name}.txt"))
    assert words in failure.message
    assert failure.exit_code == exit_code


@pytest.mark.parametrize("line", SAID)
def test_a_failure_that_needs_a_gpu_is_explained(line: str, engine: MusubiEngine) -> None:
    name, words = SAID[line]
    tail = f"Traceback (most recent call last)\n  File x\n{line}\nsteps:  10%|# | 1/9 [00:01<?, ?it/s]\n"
    assert words in engine.explain(step(name), 1, tail).message  # type: ignore[arg-type]


def test_a_killed_trainer_is_explained(engine: MusubiEngine) -> None:
    failure = engine.explain(step("train"), -9, "steps:  10%|# | 1/9")
    assert "main memory ran out" in failure.message
    assert failure.exit_code == MACHINE


def test_the_launchers_own_error_is_not_the_cause(engine: MusubiEngine) -> None:
    tail = (
        "Traceback (most recent call last):\nValueError: the folder is odd / フォルダ\n"
        "Traceback (most recent call last):\nsubprocess.CalledProcessError: Command '[...]' returned 1.\n"
    )
    failure = engine.explain(step("train"), 1, tail)
    assert failure.message.startswith("Train the LoRA failed: ValueError: the folder is odd. ")
    assert failure.exit_code == TRAINER


def test_a_warning_before_the_traceback_is_not_the_cause(engine: MusubiEngine) -> None:
    tail = "WARNING: No module named 'triton'\nTraceback (most recent call last):\nKeyError: 'x'\n"
    assert "KeyError" in engine.explain(step("train"), 1, tail).message


def test_silence_is_explained_with_the_exit_code(engine: MusubiEngine) -> None:
    assert "ended with code 7" in engine.explain(step("train"), 7, "").message


def test_every_message_says_what_to_do_in_at_most_three_sentences() -> None:
    for cause in CAUSES:
        assert cause.message.endswith((".", "0", "prepare", "prepare_dataset.sh", "musabi check"))
        assert cause.message.count(". ") <= 2
