"""What another version changed, in lines."""

from pathlib import Path

from musabi.contract import differences
from small.contract import SCHEMA, surface_of

SCRIPT = """
    import argparse
    if __name__ == "__main__":
        parser = argparse.ArgumentParser()
        parser.add_argument("--gone")
        parser.add_argument("--dim", type=int, default=4)
        parser.add_argument("--precision", choices=["no", "fp16"])
        parser.add_argument("--task", default="t2v")
        parser.add_argument("--pair", nargs=2)
        parser.parse_args()
"""
NEWER = (
    SCRIPT.replace('parser.add_argument("--gone")', 'parser.add_argument("--come", type=float)')
    .replace("type=int, default=4", "type=float, default=8")
    .replace('["no", "fp16"]', '["no", "bf16"]')
    .replace('default="t2v"', "required=True")
    .replace("nargs=2", "nargs='*'")
)


def test_a_surface_has_no_differences_from_itself(tmp_path: Path) -> None:
    surface = surface_of(tmp_path, {"a.py": SCRIPT})
    assert differences(surface, surface) == ()


def test_every_kind_of_change_is_a_line(tmp_path: Path) -> None:
    old = surface_of(tmp_path / "old", {"a.py": SCRIPT, "old.py": SCRIPT, "dataset/config_utils.py": SCHEMA})
    schema = SCHEMA.replace('"source_fps": float', '"fps": float').replace(
        '"enable_bucket": bool', '"enable_bucket": int'
    )
    new = surface_of(tmp_path / "new", {"a.py": NEWER, "new.py": SCRIPT, "dataset/config_utils.py": schema})
    assert differences(old, new) == (
        "--gone: removed (a.py)",
        "--dim: type float, was int (a.py)",
        "--dim: default 8, was 4 (a.py)",
        "--precision: choices without fp16 and with bf16 (a.py)",
        "--task: default none, was t2v (a.py)",
        "--task: required yes, was no (a.py)",
        "--pair: number of values *, was 2 (a.py)",
        "--come: added, a number (a.py)",
        "script old.py: removed",
        "script new.py: added",
        "dataset key enable_bucket: int in general, image, video, was bool in general, image, video",
        "dataset key source_fps: removed",
        "dataset key fps: float in video, added",
    )


def test_the_same_change_in_many_scripts_is_one_line(tmp_path: Path) -> None:
    names = [f"{letter}.py" for letter in "abcde"]
    old = surface_of(tmp_path / "old", dict.fromkeys(names, SCRIPT))
    new = surface_of(tmp_path / "new", dict.fromkeys(names, SCRIPT.replace("--gone", "--here")))
    assert differences(old, new) == (
        "--gone: removed (a.py, b.py, c.py and 2 more)",
        "--here: added, a value (a.py, b.py, c.py and 2 more)",
    )


def test_what_could_not_be_read_is_no_change(tmp_path: Path) -> None:
    old = surface_of(tmp_path / "old", {"a.py": SCRIPT})
    new = surface_of(tmp_path / "new", {"a.py": SCRIPT.replace('default="t2v"', "default=elsewhere.best()")})
    assert new.scripts["a.py"].options["--task"].unread == ("default",)
    assert differences(old, new) == ()
