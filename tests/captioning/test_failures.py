"""Every row of the table of failures says its sentence, with the mend."""

import pytest

from musabi.captioning.failures import FAILURES, failure
from musabi.errors import MachineError, MusabiError, RequestError, TrainerError

NAMES = {"title": "Qwen3-VL 8B", "repo": "Qwen/Qwen3-VL-8B-Instruct", "place": "/m", "vram": "20"}
CASES: list[tuple[str, str, int, type[MusabiError], str]] = [
    ("memory", "the memory ran out with a single small file", 3, MachineError, "CAPTION_MODEL_PATH"),
    ("gpu", "torch finds no GPU", 3, MachineError, "--device cpu"),
    ("cuda", "CUDA error: unspecified launch failure", 3, MachineError, "unspecified launch failure. Start"),
    ("class", "transformers 4.40 has no Qwen3VLForConditionalGeneration", 3, MachineError, "bootstrap"),
    ("weights", "3 of the model's tensors are missing", 3, RequestError, "models download Qwen/Qwen3-VL"),
    ("model", "ModuleNotFoundError: No module named 'torch'", 3, MachineError, "lacks a package"),
    ("model", "ValueError: Unrecognized image processor", 3, RequestError, "/m: ValueError"),
    ("", "Loading checkpoint shards", -9, MachineError, "main memory ran out"),
]


@pytest.mark.parametrize(("kind", "message", "code", "error", "said"), CASES)
def test_a_failure_is_said_with_its_mend(
    kind: str, message: str, code: int, error: type[MusabiError], said: str
) -> None:
    told = failure(kind, message, code, NAMES)
    assert type(told) is error
    assert said in str(told)


def test_the_cases_cover_the_table_and_the_unknown_names_its_last_line() -> None:
    assert len({row.sentence for row in FAILURES}) == len(CASES)
    told = failure("", "Segmentation fault", -11, NAMES)
    assert type(told) is TrainerError
    assert "exit code -11: Segmentation fault" in str(told)
