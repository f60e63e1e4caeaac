"""Command lines beside what argparse itself says of them, and each kind of fault in its words."""

import argparse
import random
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from musabi.contract import Fault, Surface, committed, faults
from musabi.contract.nearest import nearest
from small.contract import surface_of

PARSER = """
    def setup(parser):
        parser.add_argument("paths", nargs="+")
        parser.add_argument("-n", "--num-images", type=int)
        parser.add_argument("--task", required=True, choices=["t2v", "i2v", "t2v-FC"])
        parser.add_argument("--rate", type=float)
        parser.add_argument("--size", type=int, nargs=2)
        parser.add_argument("--weights", type=float, nargs="*")
        parser.add_argument("--names", nargs="+", choices=["a", "b"])
        parser.add_argument("--level", type=int, nargs="?", const=3)
        parser.add_argument("--fast", action="store_true")
        parser.add_argument("--more", action="append", type=int)
        parser.add_argument("--cudnn", action=argparse.BooleanOptionalAction)
        return parser
"""
VOCABULARY = (
    *("--task", "t2v", "i2v", "--task=t2v", "--task=x", "t3v", "--rate", "0.5", "-1", "-.5", "1e-4", "x"),
    *("--size", "1", "2", "--size=1", "--weights", "--weights=1", "--names", "a", "b", "--level", "--fast"),
    *("--fast=1", "--more", "--cudnn", "--no-cudnn", "-n", "-n3", "-nx", "--num-images=4", "--unknown", "-x"),
    *("-", "a b", "-a b", "", "--rate=", "--rat"),
)


def source(*, abbreviations: bool, positional: bool = True) -> str:
    body = (
        dedent(PARSER)
        if positional
        else dedent(PARSER).replace('    parser.add_argument("paths", nargs="+")\n', "")
    )
    end = f"""
if __name__ == "__main__":
    setup(argparse.ArgumentParser(allow_abbrev={abbreviations})).parse_args()
"""
    return "import argparse\n" + body + end


def real_parser(text: str, abbreviations: bool) -> argparse.ArgumentParser:
    names: dict[str, Any] = {"__name__": "made_up"}
    exec(compile(text, "made_up", "exec"), names)  # noqa: S102 - the text stands above
    made: argparse.ArgumentParser = names["setup"](
        argparse.ArgumentParser(allow_abbrev=abbreviations, exit_on_error=True)
    )
    return made


def accepts(parser: argparse.ArgumentParser, argv: list[str]) -> bool:
    try:
        parser.parse_args(argv)
    except SystemExit:
        return False
    return True


@pytest.mark.parametrize("abbreviations", [True, False])
@pytest.mark.parametrize("positional", [True, False])
def test_what_argparse_refuses_is_refused_and_nothing_else(
    abbreviations: bool, positional: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = source(abbreviations=abbreviations, positional=positional)
    surface = surface_of(tmp_path, {"a.py": text})
    parser = real_parser(text, abbreviations)
    drawn = random.Random(1)  # noqa: S311
    taken = 0
    for _ in range(1500):
        rest = drawn.choices(VOCABULARY, k=drawn.randint(0, 5))
        argv = drawn.choice([rest, ["--task", "t2v", *rest], [*rest, "--task", "i2v"]])
        found = [fault for fault in faults(surface, "a.py", argv) if fault.refused]
        full = [fault for fault in found if fault.what != "abbreviation"]
        if accepts(parser, argv):
            taken += 1
            assert full == [], (argv, full)
        else:
            assert found, argv
    capsys.readouterr()
    assert 100 < taken < 1400


def of(argv: str, script: str = "wan_train_network.py", surface: Surface | None = None) -> list[Fault]:
    found = faults(surface or committed(), script, argv.split())
    return [fault for fault in found if fault.what != "required"]


CASES = [
    (
        "--timestep_boundary 0.9",
        "type",
        'The installed wan_train_network.py takes a whole number for --timestep_boundary, not "0.9". '
        "Write 900 for 0.9.",
    ),
    (
        "--network_dim 16.0",
        "type",
        'The installed wan_train_network.py takes a whole number for --network_dim, not "16.0". '
        "Write 16 for 16.0.",
    ),
    (
        "--learning_rate fast",
        "type",
        'The installed wan_train_network.py takes a number for --learning_rate, not "fast".',
    ),
    (
        "--lr_warmup_steps some",
        "type",
        'The installed wan_train_network.py takes a number or a percentage for --lr_warmup_steps, not "some".',
    ),
    (
        "--flash-attn",
        "unknown",
        "The installed wan_train_network.py knows no argument --flash-attn. Did you mean --flash_attn?",
    ),
    (
        "--epochs 4",
        "unknown",
        "The installed wan_train_network.py knows no argument --epochs. Did you mean --max_train_epochs?",
    ),
    ("--zzz 4", "unknown", "The installed wan_train_network.py knows no argument --zzz. Leave it out."),
    (
        "--max_train_ep 4",
        "abbreviation",
        "The installed wan_train_network.py would read --max_train_ep as --max_train_epochs. "
        "Write --max_train_epochs.",
    ),
    (
        "--fp8",
        "abbreviation",
        "The installed wan_train_network.py can't tell which argument --fp8 is: --fp8_base or --fp8_scaled "
        "or --fp8_t5. Write one of them in full.",
    ),
    (
        "--mixed_precision bfloat16",
        "choice",
        'The installed wan_train_network.py takes one of no, fp16, bf16 for --mixed_precision, not "bfloat16". '
        "Did you mean bf16?",
    ),
    (
        "--seed --sdpa",
        "missing value",
        "The installed wan_train_network.py takes a whole number for --seed, and none is given.",
    ),
    (
        "--metadata_title -x",
        "missing value",
        "The installed wan_train_network.py takes a value for --metadata_title, and none is given. A value "
        "that begins with - is written --metadata_title=-x.",
    ),
    (
        "--seed 1 2",
        "too many",
        'The installed wan_train_network.py: --seed takes one value. Leave "2" out.',
    ),
    (
        "--sdpa true",
        "too many",
        'The installed wan_train_network.py: --sdpa is a switch and takes no value. Leave "true" out.',
    ),
    (
        "--seed 1 --seed 2",
        "twice",
        "--seed is given to wan_train_network.py more than once, and the last counts: 2.",
    ),
]


@pytest.mark.parametrize(("argv", "what", "message"), CASES)
def test_a_fault_is_said_plainly(argv: str, what: str, message: str) -> None:
    assert Fault("", what, message) in [  # type: ignore[arg-type]
        Fault("", fault.what, fault.message) for fault in of(argv)
    ]


def test_a_pair_with_one_value_says_how_many_it_takes() -> None:
    (fault,) = of("--video_size 480", "wan_generate_video.py")
    assert fault.message == (
        "The installed wan_generate_video.py takes 2 whole numbers for --video_size, and only 1 is given."
    )


def test_a_missing_argument_is_named_with_what_it_takes() -> None:
    (fault,) = faults(committed(), "kandinsky5_train_network.py", ["--sdpa"])
    assert (fault.flag, fault.what) == ("--task", "required")
    assert fault.message.endswith("needs --task, and it is not given. Add --task with a value.")


def test_a_missing_positional_argument_is_named() -> None:
    (fault,) = faults(committed(), "networks/convert_z_image_lora_to_comfy.py", ["a.safetensors"])
    assert (fault.flag, fault.what) == ("dst_path", "required")


def test_a_script_that_is_not_there_is_named_with_the_nearest() -> None:
    (fault,) = faults(committed(), "zimage_train_networks.py", [])
    assert fault.message == (
        "musubi-tuner 0.3.4 (30c658c) has no script zimage_train_networks.py. Did you mean zimage_train_network.py?"
    )


def test_deprecated_is_a_note_with_what_to_write() -> None:
    (fault,) = of("--edit", "qwen_image_train_network.py")
    assert (fault.what, fault.refused) == ("deprecated", False)
    assert fault.message.endswith(
        "--edit of qwen_image_train_network.py is deprecated. Write --model_version edit instead."
    )


def test_a_run_of_values_is_shared_out_among_positional_arguments(tmp_path: Path) -> None:
    text = source(abbreviations=False).replace(
        'nargs="+")', 'nargs="+", type=int)\n    parser.add_argument("target")', 1
    )
    surface = surface_of(tmp_path, {"a.py": text})
    assert of("1 2 last --task t2v", "a.py", surface) == []
    assert [fault.what for fault in of("1 b last --task t2v", "a.py", surface)] == ["type"]


def test_where_flags_may_not_be_shortened_a_short_one_is_unknown(tmp_path: Path) -> None:
    surface = surface_of(tmp_path, {"a.py": source(abbreviations=False)})
    assert [fault.what for fault in of("--rat 1", "a.py", surface)] == ["unknown"]


@pytest.mark.parametrize(
    ("name", "names", "meant"),
    [
        ("--Flash-Attn", ["--flash3_attn", "--flash_attn"], "--flash_attn"),
        ("T2V", ["T2I", "t2v"], "t2v"),
        ("--epochs", ["--seed", "--max_train_epochs", "--save_every_n_epochs"], "--max_train_epochs"),
        ("--sead", ["--seed", "--sdpa"], "--seed"),
        ("--zzz", ["--seed"], None),
    ],
)
def test_the_name_that_was_meant(name: str, names: list[str], meant: str | None) -> None:
    assert nearest(name, names) == meant


def test_the_same_value_twice_and_a_switch_twice_are_nothing() -> None:
    assert of("--seed 1 --seed 1 --sdpa --sdpa") == []


def test_every_fault_of_a_line_is_found_at_once() -> None:
    found = of("--task t2v-14 --seed x --nonsense --sdpa on")
    assert [fault.what for fault in found] == ["choice", "type", "unknown", "too many"]


def test_a_script_that_hides_arguments_does_not_refuse_what_it_may_know(tmp_path: Path) -> None:
    text = """
        import argparse
        import somewhere

        if __name__ == "__main__":
            parser = argparse.ArgumentParser()
            somewhere.add(parser)
            parser.add_argument("--x", type=int)
            parser.parse_args()
    """
    surface = surface_of(tmp_path, {"a.py": text})
    assert of("--perhaps 1", "a.py", surface) == []
    assert [fault.what for fault in of("--perhaps 1 --x y", "a.py", surface)] == ["type"]
