"""What is read of sources that were made up to hold each construct, beside what argparse itself makes of them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from musabi.contract import read_surface
from musabi.contract.as_json import from_values, to_json
from musabi.errors import MachineError
from small.contract import SCHEMA, comparable, described, surface_of, write_package

REAL = Path(__file__).parents[1] / "small" / "real_parsers.py"

COMMON = """
    import argparse
    import pathlib
    from enum import Enum

    class Backend(Enum):
        NONE = "none"
        FAST = "fast"

    def _int_or_float(value):
        return float(value)

    def _add_general(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--config_file", type=str, default=None, help="a file")
        parser.add_argument("--dataset_config", type=pathlib.Path, default=None)
        parser.add_argument("--warmup", type=_int_or_float, default=0)

    def setup_parser_common() -> argparse.ArgumentParser:
        def bool_word(text):
            return text == "yes"

        parser = argparse.ArgumentParser()
        _add_general(parser)
        group = parser.add_argument_group("memory")
        group.add_argument("--blocks_to_swap", type=int, default=None)
        either = parser.add_mutually_exclusive_group()
        either.add_argument("--fast", action="store_true")
        either.add_argument("--slow", action="store_false", dest="fast_after_all")
        parser.add_argument("--word", type=bool_word, default="no")
        parser.add_argument("--backend", choices=[e.value for e in Backend], default=Backend.FAST.value)
        parser.set_defaults(scaled=False, sampling="sigma")
        parser.add_argument("--sampling", choices=["sigma", "shift"])
        parser.add_argument("--scaled", action="store_true")
        return parser
"""

SCRIPTS = {
    "__init__.py": "",
    "training/__init__.py": "",
    "training/parser_common.py": COMMON,
    "configs/__init__.py": """
        from .sizes import SIZES

        TASKS = {"t2v-14B": object(), "i2v-14B": object()}
        TASKS["t2i-14B"] = object()
        TASKS.update({"flf2v": object()})
        NAMES = ["a"]
        NAMES += ["b"]
    """,
    "configs/sizes.py": "SIZES = {'small': 1, 'large': 2}\n",
    # the parser is handed on to functions of other modules, imported under other names
    "train.py": '''
        import argparse
        import no_such_package
        from musubi_tuner import cache_latents as cl
        from musubi_tuner.configs import NAMES, SIZES as KNOWN, TASKS
        from musubi_tuner.training.parser_common import setup_parser_common as common
        import musubi_tuner.training.parser_common as pc

        try:
            from no_such_package import thing
        except ImportError:
            thing = None

        def my_setup_parser(p: argparse.ArgumentParser, boundary=int) -> argparse.ArgumentParser:
            p.add_argument("--task", required=True, choices=list(TASKS.keys()), help="which")
            p.add_argument("--size", choices=sorted(KNOWN), default="small")
            p.add_argument("--name", choices=[*NAMES, "c"])
            p.add_argument("--boundary", type=boundary)
            p.set_defaults(sampling="shift", fast=True)
            for number in (1, 2):
                p.add_argument(f"--text_encoder{number}", type=str)
            for flag, kind in {"--rate": float, "--count": int}.items():
                p.add_argument(flag, type=kind)
            if thing is None:
                p.add_argument("--without_thing", action="store_true")
            return p

        def main():
            parser = common()
            parser = my_setup_parser(parser)
            args = parser.parse_args()
            print(args)
            parser.add_argument("--too_late")

        if __name__ == "__main__":
            main()
    '''.replace("import no_such_package\n", "\n"),
    "cache_latents.py": '''
        import argparse
        import sys

        LONG = "a prose text that says much about what a caption should hold and how long it may be" * 2

        def parse_args():
            parser = argparse.ArgumentParser(description="x", parents=[parent()])
            parser.add_argument("paths", nargs="+", help="files")
            parser.add_argument("target", nargs="?", default="out")
            parser.add_argument("-n", "--num-images", dest="num_images", type=int, default=-1)
            parser.add_argument("--size", type=int, nargs=2, default=[256, 256], metavar=("H", "W"))
            parser.add_argument("--weights", type=float, nargs="*", default=[1.0])
            parser.add_argument("--level", nargs="?", const="high", default=None)
            parser.add_argument("--more", action="append", type=int)
            parser.add_argument("-v", "--verbose", action="count", default=0)
            parser.add_argument("--mode", action="store_const", const=3)
            parser.add_argument("--cudnn", action=argparse.BooleanOptionalAction, default=True)
            parser.add_argument("--prompt", default=LONG)
            parser.add_argument("--upper", type=lambda text: text.upper())
            parser.add_argument("--half", type=float, default=1 / 2, choices=(0.5, 1.0))
            parser.add_argument("--both", "--other", help=argparse.SUPPRESS)
            basics = {"type": int}
            options = {**basics, "default": 3}
            parser.add_argument("--spread", **options)
            with open(sys.argv[0]) if False else pretend():
                parser.add_argument("--inside")
            return parser.parse_args()

        class pretend:
            def __enter__(self): return self
            def __exit__(self, *_): return None

        def parent():
            mother = argparse.ArgumentParser(add_help=False)
            mother.add_argument("--from_parent", type=int, default=7)
            return mother

        if __name__ == "__main__":
            args = parse_args()
    ''',
    "networks/convert.py": '''
        def main():
            from argparse import ArgumentParser as Parser
            parser = Parser(allow_abbrev=False)
            parser.add_argument("src_path", type=str)
            parser.add_argument("--reverse", action="store_true")
            return parser.parse_args()

        if __name__ == "__main__":
            main()
    ''',
    "networks/lora.py": "def create():\n    pass\n",
    "dataset/config_utils.py": SCHEMA,
}  # fmt: skip


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_package(tmp_path_factory.mktemp("checkout"), SCRIPTS)


def test_what_is_read_is_what_the_real_parsers_know(package: Path) -> None:
    surface = read_surface(package)
    assert list(surface.scripts) == ["cache_latents.py", "train.py", "networks/convert.py"]
    done = subprocess.run(
        [sys.executable, REAL, package, *surface.scripts], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    real = json.loads(done.stdout.splitlines()[-1])
    for file, arguments in real.items():
        assert described(surface.scripts[file]) == [comparable(argument) for argument in arguments], file
    assert all(script.whole for script in surface.scripts.values())
    assert not any(option.unread for script in surface.scripts.values() for option in script.each())


def test_a_default_of_many_words_is_kept_as_a_fingerprint(package: Path) -> None:
    prompt = read_surface(package).scripts["cache_latents.py"].options["--prompt"].default
    assert prompt.startswith("(166 characters, sha256 ")


def test_where_an_argument_is_defined_is_told(package: Path) -> None:
    options = read_surface(package).scripts["train.py"].options
    assert options["--config_file"].defined_in == "training/parser_common.py:_add_general"
    assert options["--task"].defined_in == "train.py:my_setup_parser"


def test_json_gives_back_the_surface_with_one_argument_a_line(package: Path) -> None:
    surface = read_surface(package)
    text = to_json(surface)
    assert from_values(json.loads(text)) == surface
    assert '"--boundary": {"type": "int"}' in [line.strip(",") for line in text.splitlines()]
    assert "which" not in text


def test_scripts_that_share_a_function_may_differ_in_what_they_make_of_it(tmp_path: Path) -> None:
    script = """
        from musubi_tuner.training.parser_common import setup_parser_common
        if __name__ == "__main__":
            parser = setup_parser_common()
            {}
            parser.parse_args()
    """
    common = COMMON.replace(
        "def _add_general(parser: argparse.ArgumentParser)", "def _add_general(parser, warm=True)"
    )
    common = common.replace(
        '        parser.add_argument("--warmup"', '        if warm: parser.add_argument("--warmup"'
    )
    files = {
        "training/parser_common.py": common,
        "a.py": script.format("parser.set_defaults(sampling='shift')"),
        "b.py": script.format("pass"),
        "c.py": script.format("parser.add_argument('--more')"),
        "d.py": script.replace("setup_parser_common", "_add_general")
        .replace("= _add_general()", "= argparse.ArgumentParser()")
        .replace("from", "import argparse\n        from", 1)
        .format("_add_general(parser, warm=False)"),
    }
    surface = surface_of(tmp_path, files)
    again = from_values(json.loads(to_json(surface)))
    assert again == surface
    assert again.scripts["a.py"].options["--sampling"].default == "shift"
    assert again.scripts["b.py"].options["--sampling"].default == "sigma"
    assert "--more" not in again.scripts["b.py"].options
    assert set(again.scripts["d.py"].options) == {"-h", "--help", "--config_file", "--dataset_config"}


def main_script(body: str, *, before: str = "") -> str:
    lines = [
        "import argparse",
        *before.splitlines(),
        "if __name__ == '__main__':",
        "    parser = argparse.ArgumentParser()",
        *(f"    {line}" for line in body.splitlines()),
        "    parser.parse_args()",
    ]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("help_text", "deprecated", "instead"),
    [
        ("[Deprecated] Use individual args instead.", True, ""),
        ("Enable the first edition, recommend `--model_version edit` instead", True, "--model_version edit"),
        ("deprecated, use --compile instead", True, "--compile"),
        ("use --compile where you can", False, ""),
    ],
)
def test_the_help_text_tells_what_is_deprecated(
    help_text: str, deprecated: bool, instead: str, tmp_path: Path
) -> None:
    surface = surface_of(tmp_path, {"a.py": main_script(f"parser.add_argument('--x', help={help_text!r})")})
    option = surface.scripts["a.py"].options["--x"]
    assert (option.deprecated, option.instead) == (deprecated, instead)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ("parser.add_argument('--x', default=somewhere.best())", "default"),
        ("parser.add_argument('--x', choices=somewhere.names())", "choices"),
        ("parser.add_argument('--x', type=somewhere.kind())", "type"),
        ("parser.add_argument('--x', nargs=somewhere.count())", "nargs"),
        ("parser.add_argument('--x', default='a' if somewhere.gpu() else 'b')", "default"),
    ],
)
def test_what_only_running_would_tell_is_said_to_be_unread(body: str, field: str, tmp_path: Path) -> None:
    surface = surface_of(tmp_path, {"a.py": main_script(body, before="import somewhere")})
    assert surface.scripts["a.py"].options["--x"].unread == (field,)
    assert surface.scripts["a.py"].whole


@pytest.mark.parametrize(
    "body",
    [
        "somewhere.add_arguments(parser)",
        "parser.add_argument(somewhere.flag())",
        "parser.add_argument(*somewhere.flags())",
        "parser.add_argument('--x', **somewhere.words())",
        "parser.add_subparsers()",
        "parser.parse_known_args()",
    ],
)
def test_a_script_with_hidden_arguments_is_not_called_whole(body: str, tmp_path: Path) -> None:
    surface = surface_of(tmp_path, {"a.py": main_script(body, before="import somewhere")})
    assert not surface.scripts["a.py"].whole


def test_a_way_that_may_not_be_taken_adds_its_arguments_and_ends_nothing(tmp_path: Path) -> None:
    before = """
import os
def more(parser):
    if os.environ.get("A"):
        parser.add_argument("--perhaps")
        return parser
    parser.add_argument("--always")
    return parser
"""
    surface = surface_of(tmp_path, {"a.py": main_script("parser = more(parser)", before=before)})
    assert set(surface.scripts["a.py"].options) == {"-h", "--help", "--perhaps", "--always"}


def test_functions_that_call_each_other_without_end_are_left(tmp_path: Path) -> None:
    before = "A = B\nB = A\ndef loop(parser):\n    return loop(parser)"
    body = "loop(parser)\nparser.add_argument('--x', default=A)"
    surface = surface_of(tmp_path, {"a.py": main_script(body, before=before)})
    assert "--x" in surface.scripts["a.py"].options


def test_the_dataset_keys_come_from_the_schema(package: Path) -> None:
    keys = {key.name: (key.type, key.places) for key in read_surface(package).dataset.values()}
    everywhere = ("general", "image", "video")
    assert keys == {
        "batch_size": ("int", everywhere),
        "resolution": ("size", everywhere),
        "enable_bucket": ("bool", everywhere),
        "image_directory": ("str", ("image",)),
        "no_resize_control": ("bool", ("image",)),
        "video_directory": ("str", ("video",)),
        "target_frames": ("[int]", ("video",)),
        "source_fps": ("float", ("video",)),
        "old_no_resize_control": ("bool", ("image",)),
    }
    assert read_surface(package).dataset["old_no_resize_control"].instead == "no_resize_control"


def test_a_file_that_is_not_python_is_named_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match=r"broken\.py is not Python that can be read: line 2"):
        surface_of(tmp_path, {"broken.py": "x = 1\ndef f(:\n"})


def test_a_folder_without_scripts_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="no script of musubi-tuner"):
        surface_of(tmp_path, {"readme.py": "x = 1\n"})
