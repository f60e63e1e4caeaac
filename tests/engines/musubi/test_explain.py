"""One sentence for each way to fail, from what the real trainer, its libraries and its launcher print.

`failures/NAME.txt` is the output that the row NAME of the table is for; `recordings/failed_*.txt` are whole
runs of the real trainer.
"""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from musabi.engines.musubi.causes import CAUSES
from musabi.engines.musubi.engine import MusubiEngine
from musabi.engines.musubi.explain import known, plain_lines
from musabi.errors import ExitCode
from musabi.job.plan import Step, StepName

Recording = Callable[[str], str]
FAILURES = Path(__file__).parent / "failures"
REQUEST, MACHINE, TRAINER = ExitCode.WRONG_REQUEST, ExitCode.MACHINE_CANNOT, ExitCode.TRAINER_FAILED
NAMES = [cause.name for cause in CAUSES]

RECORDED: dict[str, tuple[StepName, int, ExitCode, str]] = {
    "argparse": ("train", 2, REQUEST, "unrecognized arguments: --no_such_flag 3"),
    "badimg": ("cache-latents", 1, REQUEST, "cut off. Find it with: musabi check"),
    "cut": ("train", 1, MACHINE, "weight or cache file is cut off"),
    "disk": ("train", 1, MACHINE, "disk is full"),
    "flash": ("train", 1, MACHINE, "attention kind"),
    "no_items": ("train", 1, REQUEST, "no cached item"),
    "no_module": ("train", 1, MACHINE, "package nosuchpackage. Run musabi bootstrap"),
    "swap_cpu": ("train", 1, MACHINE, "unset BLOCKS_TO_SWAP"),
    "tokenizer": ("cache-text", 1, MACHINE, "tokenizer is not in the hub cache"),
    "wrong_model": ("train", 1, REQUEST, "does not fit ZImageTransformer2DModel"),
}

# What a person is told: the part of the sentence that comes from the output itself.
TOLD = {
    "arguments_refused": "unrecognized arguments: --no_such_flag 3",
    "bad_image": "/workspace/dataset/images/a.png is no picture",
    "built_for_another_torch": "flash_attn_2_cuda.cpython-312-x86_64-linux-gnu.so was built",
    "cache_of_another_model": "(llm_embed)",
    "control_missing": "has its control images",
    "dtype_mismatch": "don't go together: DiT weights are in fp16.",
    "extra_keys": "does not know: ['datasets'][0]['repeats'].",
    "file_missing": "/workspace/models/text_encoder/model-00001-of-00003.safetensors is not there",
    "gated_repo": "black-forest-labs/FLUX.2-dev",
    "gpu_failed": "failed: an illegal memory access was encountered.",
    "key_value": "wrong kind at ['general']['batch_size']: expected int.",
    "module_missing": "package prodigyoptim.",
    "optimizer_missing": 'name "".',
    "packages_outside": "/usr/local/lib/python3.12/dist-packages/huggingface_hub/__init__.py",
    "swap_too_many": "at most 28 double blocks.",
    "system_library": "library libGL.so.1 is",
    "timestep_boundary": "--timestep_boundary 875",
    "value_choice": "--weighting_scheme can't be 'linear'. Choose from",
    "value_type": "--timestep_boundary takes a value of type int, not '0.9'.",
    "wrong_model": "does not fit ZImageTransformer2DModel",
    "wrong_size": "does not fit WanModel",
    "wrong_t5": "models_t5_umt5-xxl-enc-bf16.pth",
}


def step(name: StepName) -> Step:
    return Step(name=name, title="Train the LoRA", argv=())


def failure_of(name: str) -> tuple[Step, str]:
    """Return the output of a failure and the step that it was printed in, told by the script's name."""
    text = (FAILURES / f"{name}.txt").read_bytes().decode()
    script = re.search(r"(cache_latents|cache_text|generate)\w*\.py", text)
    phase: dict[str, StepName] = {
        "cache_latents": "cache-latents",
        "cache_text": "cache-text",
        "generate": "sample",
    }
    return step(phase[script[1]] if script else "train"), text


def test_every_row_has_a_failure_and_every_failure_a_row() -> None:
    assert sorted(path.stem for path in FAILURES.iterdir()) == sorted(NAMES)
    assert len(set(NAMES)) == len(NAMES) >= 40


@pytest.mark.parametrize("name", NAMES)
def test_a_failure_shows_its_own_cause_and_no_other(name: str) -> None:
    at, text = failure_of(name)
    assert [cause.name for cause, _ in known(at, 1, plain_lines(text))] == [name]


@pytest.mark.parametrize("name", NAMES)
def test_the_launchers_last_words_hide_no_cause(name: str, engine: MusubiEngine) -> None:
    """What several processes and accelerate print after the first failure changes nothing."""
    at, text = failure_of(name)
    alone = engine.explain(at, 1, text)
    lines = text.splitlines()
    ranked = "\n".join(f"[rank0]: {line}" for line in lines)
    launched = f"{ranked}\n{failure_of('gpu_number')[1].rpartition('E1121')[2]}"
    if name == "loss_not_a_number":  # nothing failed there: a launcher that failed had another cause
        return
    assert engine.explain(at, 1, launched).cause == alone.cause == name
    assert "CalledProcessError" not in alone.message and "ChildFailedError" not in alone.message


def test_what_is_said_holds_what_the_output_names(engine: MusubiEngine) -> None:
    for name, words in TOLD.items():
        at, text = failure_of(name)
        assert words in engine.explain(at, 1, text).message, name


@pytest.mark.parametrize("name", RECORDED)
def test_a_real_failure_is_explained(name: str, engine: MusubiEngine, recording: Recording) -> None:
    at, code, exit_code, words = RECORDED[name]
    failure = engine.explain(step(at), code, recording(f"failed_{name}.txt"))
    assert words in failure.message
    assert failure.exit_code == exit_code


def test_memory_is_a_kind_of_its_own_so_that_a_run_can_try_with_less(engine: MusubiEngine) -> None:
    at, text = failure_of("gpu_memory_training")
    assert engine.explain(at, 1, text).kind == "memory"
    at, text = failure_of("wrong_model")
    failure = engine.explain(at, 1, text)
    assert (failure.kind, failure.retry) == ("other", False)
    assert engine.explain(*_numbered("gpu_failed")).retry


def _numbered(name: str) -> tuple[Step, int, str]:
    at, text = failure_of(name)
    return at, 1, text


@pytest.mark.parametrize(
    ("code", "words"),
    [(-9, "main memory ran out"), (137, "main memory ran out"), (-11, "crashed"), (-7, "shared memory")],
)
def test_a_process_that_a_signal_ended_is_explained(code: int, words: str, engine: MusubiEngine) -> None:
    failure = engine.explain(step("train"), code, "steps:  10%|# | 1/9")
    assert words in failure.message


def test_one_gpu_of_several_that_runs_out_of_memory_is_the_cause_not_its_echo(engine: MusubiEngine) -> None:
    """The other processes lose the connection, then the launcher says which exit codes it saw."""
    at, memory = failure_of("gpu_memory_training")
    _, lost = failure_of("gpus_lost_each_other")
    _, waited = failure_of("gpus_waited")
    ranked = "\n".join(f"[rank1]: {line}" for line in lost.rpartition("E1121")[0].splitlines())
    tail = "\n".join((ranked, memory, waited))
    assert engine.explain(at, 1, tail).cause == "gpu_memory_training"
    tail = "\n".join((ranked, failure_of("network_changed")[1], waited))
    assert engine.explain(at, 1, tail).cause == "network_changed"


def test_the_launchers_own_error_is_not_the_cause(engine: MusubiEngine) -> None:
    tail = (
        "Traceback (most recent call last):\n  File x\nValueError: the folder is odd / フォルダ\n"
        "Traceback (most recent call last):\n  File y\nsubprocess.CalledProcessError: Command '[...]' returned 1.\n"
    )
    failure = engine.explain(step("train"), 1, tail)
    assert failure.message == (
        "Train the LoRA failed: ValueError: the folder is odd. The log has the whole output."
    )
    assert (failure.exit_code, failure.cause) == (TRAINER, "")


@pytest.mark.parametrize("name", ["killed", "gpu_number"])
def test_an_unknown_failure_of_several_processes_shows_their_own_words(
    name: str, engine: MusubiEngine
) -> None:
    """accelerate's and torch's launchers end with long texts of their own."""
    end = (
        failure_of(name)[1].rpartition("Traceback")[2].replace("died with <Signals.SIGKILL: 9>", "returned 1")
    )
    tail = (
        "[rank0]: Traceback (most recent call last):\n[rank0]:   File x\n[rank0]: some.deep.OddThing: no luck\n"
        f"\rsteps:   1%|  | 3/240\nTraceback{end}"
    )
    said = engine.explain(step("train"), 1, tail).message
    assert said == "Train the LoRA failed: OddThing: no luck. The log has the whole output."


def test_a_launcher_alone_says_no_more_than_the_exit_code(engine: MusubiEngine) -> None:
    tail = failure_of("killed")[1].replace(
        "died with <Signals.SIGKILL: 9>", "returned non-zero exit status 1"
    )
    assert engine.explain(step("train"), 1, tail).message.startswith(
        "Train the LoRA failed: it ended with code 1."
    )


def test_a_warning_before_the_traceback_is_not_the_cause(engine: MusubiEngine) -> None:
    tail = "WARNING: No module named 'triton'\nTraceback (most recent call last):\n  File x\nKeyError: 'x'\n"
    assert "KeyError" in engine.explain(step("train"), 1, tail).message


def test_silence_is_explained_with_the_exit_code(engine: MusubiEngine) -> None:
    assert "ended with code 7" in engine.explain(step("train"), 7, "").message
    assert "ended by SIGTERM" in engine.explain(step("train"), -15, "").message


def test_every_message_says_what_to_do_in_at_most_three_sentences() -> None:
    for cause in CAUSES:
        assert cause.message.endswith((".", "0", "prepare", "musabi check")), cause.name
        assert cause.message.count(". ") <= 2, cause.name
        assert cause.message.isascii() and "!" not in cause.message, cause.name
