"""Known failures of diffusion-pipe are said in a sentence with what to do."""

import pytest

from musabi.engines.diffusion_pipe.causes import CAUSES, explain
from musabi.errors import ExitCode

SAID = {
    "gpu_memory": "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has ...",
    "disk_full": "OSError: [Errno 28] No space left on device: '/x/epoch3'",
    "no_gpu": "RuntimeError: Unable to proceed, no GPU resources available",
    "no_nvcc": "deepspeed.ops.op_builder.builder.MissingCUDAException: CUDA_HOME does not exist, unable to compile",
    "port": "torch.distributed.DistNetworkError: The server socket has failed to listen. EADDRINUSE",
    "no_save_interval": "    assert 'save_every_n_epochs' in config or 'save_every_n_steps' in config\nAssertionError",
    "model_type": "NotImplementedError: Model type sd9 is not implemented",
    "clip_mode": "NotImplementedError: video_clip_mode=multiple_overlapping is not recognized",
    "alpha": "NotImplementedError: This script forces alpha=rank to make the saved adapter format simpler",
    "block_swap": "AssertionError: Block swapping only works with pipeline_stages=1",
    "wants_videos": "AssertionError: i2v/flf2v must train on videos, got tensor with shape torch.Size([1, 3])",
    "optimizer": "AttributeError: module 'pytorch_optimizer' has no attribute 'Prodgy'",
    "optimizer_key": "TypeError: Lion.__init__() got an unexpected keyword argument 'd_coef'",
    "no_data": "RuntimeError: Processed dataset was empty. Probably caused by rounding down for each size bucket.",
    "offline": "huggingface_hub.errors.LocalEntryNotFoundError: Cannot find an appropriate cached snapshot folder",
    "missing_file": "FileNotFoundError: [Errno 2] No such file or directory: '/models/wan/config.json'",
    "broken_weights": "safetensors_rust.SafetensorError: Error while deserializing header: HeaderTooLarge",
    "environment": "ModuleNotFoundError: No module named 'comfy_kitchen'",
    "killed": "[ERROR] [launch.py:341:sigkill_handler] ['python'] exits with return code = -9",
}


def test_every_known_cause_has_an_example_here() -> None:
    assert [cause.name for cause in CAUSES] == list(SAID)


@pytest.mark.parametrize("name", SAID)
def test_a_known_failure_is_recognised_and_said(name: str) -> None:
    failure = explain(1, f"some line before\nTraceback (most recent call last):\n{SAID[name]}\n")
    assert failure.cause == name
    assert failure.message.endswith(".") and "{" not in failure.message and "Traceback" not in failure.message
    assert failure.exit_code in (2, 3, 4)


def test_the_models_name_is_in_the_sentence() -> None:
    assert "sd9" in explain(1, SAID["model_type"]).message
    assert explain(1, SAID["model_type"]).exit_code is ExitCode.WRONG_REQUEST


def test_an_unknown_failure_shows_the_last_error_that_was_printed() -> None:
    failure = explain(1, "ValueError: first\n[rank0]: KeyError: 'second'\nother words\n")
    assert failure.message.startswith("diffusion-pipe failed: [rank0]: KeyError: 'second'.")
    assert failure.exit_code is ExitCode.TRAINER_FAILED
    assert "exit code 7" in explain(7, "nothing to see").message
