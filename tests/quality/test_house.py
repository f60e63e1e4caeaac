"""The house's own rules: linters, imports that run downward, thin wrappers, light start."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from musabi.pod.furnish import WRAPPERS

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "musabi"
SCRIPTS = sorted([*ROOT.glob("*.sh"), *ROOT.glob("scripts/**/*.sh"), ROOT / ".ci" / "run"])
FLOORS = (
    ("errors", "whole", "children", "identity", "container", "templating", "stamped"),
    ("workspace", "lora"),
    ("lora",),
    ("job",),
    ("settings", "machine"),
    ("dataset", "recipes", "hub", "contract"),
    ("engines", "captioning"),
    ("pod", "watch", "grid"),
    ("serverless",),
    ("commands",),
    ("notebook",),
    ("cli",),
    ("__main__",),
)
HEAVY = (
    "torch",
    "transformers",
    "diffusers",
    "peft",
    "huggingface_hub",
    "tensorboard",
    "numpy",
    "jupyterlab",
    "runpod",
)
TOOLS = {
    "ruff": ("ruff", "check", "."),
    "ruff-format": ("ruff", "format", "--check", "."),
    "mypy": ("mypy",),
    "shellcheck": ("shellcheck", "-x", *map(str, SCRIPTS)),
    "shfmt": ("shfmt", "-i", "4", "-d", *map(str, SCRIPTS)),
    "hadolint": ("hadolint", *map(str, ROOT.glob("Dockerfile*"))),
}


@pytest.mark.parametrize("tool", TOOLS)
def test_the_linters_find_nothing(tool: str) -> None:
    if tool == "hadolint" and len(TOOLS[tool]) == 1:
        pytest.skip("there is no Dockerfile yet")
    program = Path(sys.executable).parent / TOOLS[tool][0]
    done = subprocess.run([program, *TOOLS[tool][1:]], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


def floor_of(module: str) -> int:
    """Return the floor of a module such as `musabi.job.plan`; the package itself is the ground."""
    parts = module.split(".")
    if len(parts) == 1:
        return -1
    return next(number for number, names in enumerate(FLOORS) if parts[1] in names)


def imports(path: Path) -> set[str]:
    """Return the musabi modules that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.split(".")[0] == "musabi" and is_module(name)}


def is_module(name: str) -> bool:
    path = ROOT / "src" / Path(*name.split("."))
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT / "src").with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_imports_run_downward_only() -> None:
    wrong = [
        f"{module_name(path)} imports {name}"
        for path in SOURCE.rglob("*.py")
        for name in imports(path)
        if floor_of(name) > floor_of(module_name(path))
    ]
    assert wrong == []


def test_no_module_imports_itself_in_a_circle() -> None:
    graph = {module_name(path): imports(path) - {module_name(path)} for path in SOURCE.rglob("*.py")}
    packages = {module_name(path) for path in SOURCE.rglob("__init__.py")}
    graph = {name: {other for other in others if other not in packages} for name, others in graph.items()}
    while leaves := {name for name, others in graph.items() if not others & graph.keys()}:
        graph = {name: others for name, others in graph.items() if name not in leaves}
    assert graph == {}


def test_the_command_line_starts_without_the_heavy_packages() -> None:
    code = f"import musabi.cli, sys; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"


def test_every_verb_has_an_example_in_its_help() -> None:
    code = """
import typer.main
from musabi.cli import app, load_verbs

def verbs(command, name):
    for word, below in getattr(command, "commands", {}).items():
        yield from verbs(below, f"{name} {word}")
    if not hasattr(command, "commands"):
        yield name, command.help or ""

load_verbs([])
print([name for name, help in verbs(typer.main.get_command(app), "musabi") if f"Example: {name}" not in help])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


@pytest.mark.parametrize("name", WRAPPERS)
def test_a_wrapper_hands_over_in_ten_lines(name: str) -> None:
    path = ROOT / name
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    assert len(lines) <= 10
    assert "set -eu" in lines
    assert os.access(path, os.X_OK)
    assert lines[-1].startswith("exec ") and lines[-1].endswith('"$@"')


def test_a_module_holds_one_thing() -> None:
    long = {module_name(path) for path in SOURCE.rglob("*.py") if len(path.read_text().splitlines()) > 500}
    assert long == set()


def test_the_requirements_are_hashed_and_name_no_address() -> None:
    files = sorted((ROOT / "requirements").glob("*.txt"))
    assert [path.stem for path in files] == ["base", "dev", "diffusers", "pod", "s3", "serverless"]
    for path in files:
        text = path.read_text(encoding="utf-8")
        assert "://" not in text and "--index" not in text
        pins = re.findall(r"^[a-z0-9][\w.-]*==\S+.*(?:\\)$", text, re.MULTILINE | re.IGNORECASE)
        assert pins and len(pins) == len(re.findall(r"^[a-z0-9]", text, re.MULTILINE | re.IGNORECASE))
