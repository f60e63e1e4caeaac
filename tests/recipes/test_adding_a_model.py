"""docs/adding-a-model.md, followed to the letter: its file is written, its commands are run."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "adding-a-model.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with the recipe where the page puts it."""
    (text,) = (body for kind, body in BLOCK.findall(PAGE) if kind == "toml")
    name = re.match(r"# (\S+)", text)
    assert name is not None
    path = tmp_path / name[1]
    path.parent.mkdir()
    path.write_text(text, encoding="utf-8")
    return tmp_path


def follow(place: Path) -> list[str]:
    """Run the page's commands one after another, as a shell of one's own would; return what each printed."""
    variables = {
        "WORKSPACE": str(place / "workspace"),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    outputs = []
    for kind, body in BLOCK.findall(PAGE):
        for line in body.splitlines() if kind == "sh" else ():
            if line.startswith("export "):
                name, _, value = line.removeprefix("export ").partition("=")
                variables[name] = value
                continue
            done = subprocess.run(
                line.split(),
                cwd=place,
                env=os.environ | variables,
                capture_output=True,
                text=True,
                timeout=60,
            )
            assert done.returncode == 0, done.stdout + done.stderr
            outputs.append(done.stdout)
    return outputs


@pytest.mark.slow
def test_the_page_can_be_followed_to_the_letter(place: Path) -> None:
    listed, checked, begun = follow(place)
    assert re.search(r"^lighthouse\s+image\s", listed, re.MULTILINE)
    assert "zimage_train_network.py" in checked and "--network_dim 16" in checked
    assert "models/lighthouse/lighthouse_bf16.safetensors" in checked
    assert "--infer_steps 12" in checked and "takes all of it" in checked
    assert "musabi run my-lora/job.toml" in begun
    job = tomllib.loads((place / "my-lora" / "job.toml").read_text(encoding="utf-8"))
    assert (job["model"], job["network_dim"], job["network_alpha"]) == ("lighthouse", 16, 8)
    dataset = tomllib.loads((place / "my-lora" / "dataset.toml").read_text(encoding="utf-8"))
    assert dataset["datasets"][0]["image_directory"] == str(place / "my-lora" / "images")
    assert "trigger word" in (place / "my-lora" / "job.toml").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("steps = 12", "steps = 12\nstep = 1", "sampling.step: Extra inputs are not permitted"),
        ('extends = "z-image"', 'extends = "z-imag"', 'extends "z-imag", but there is no'),
        ("dim = 16", "dim = 0", "network.dim: Input should be greater than or equal to 1"),
        ('name = "lighthouse"', 'name = "other"', "Name the file other.toml"),
        ("gigabytes = 12.3", "gigabytes = 12.3\nfoo", "is not TOML"),
    ],
)
def test_a_recipe_that_is_wrong_is_refused_with_the_place(
    old: str, new: str, words: str, place: Path
) -> None:
    path = place / "my-recipes" / "lighthouse.toml"
    path.write_text(path.read_text(encoding="utf-8").replace(old, new, 1), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "musabi", "models", "check", "lighthouse"],
        env=os.environ | {"MUSABI_RECIPES": str(path.parent)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert words in done.stderr and "Traceback" not in done.stderr


@pytest.mark.slow
def test_an_argument_that_the_trainer_would_refuse_is_named(place: Path) -> None:
    path = place / "my-recipes" / "lighthouse.toml"
    more = '\n[scripts.train]\nalways = [{ flag = "--timestep_samplin", value = "shift", why = "a slip" }]\n'
    path.write_text(path.read_text(encoding="utf-8") + more, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "musabi", "models", "check", "lighthouse"],
        env=os.environ | {"MUSABI_RECIPES": str(path.parent)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode in (2, 3)
    assert "--timestep_sampling" in done.stderr
