"""The two templates at the root of the repository are what a pod starts from."""

import tomllib
from pathlib import Path

import pytest

from musabi.dataset.config import read_config
from musabi.dataset.prompts import read_prompts
from musabi.dataset.templates import dataset_toml
from musabi.workspace import Workspace

ROOT = Path(__file__).parents[2]
TEMPLATE = ROOT / "dataset.toml.example"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = Workspace(tmp_path / "workspace")
    made.images.mkdir(parents=True)
    return made


def test_the_dataset_template_reads_as_promised(workspace: Workspace) -> None:
    workspace.dataset_config.write_text(dataset_toml(TEMPLATE.read_text(), workspace))
    (dataset,) = read_config(workspace.dataset_config).datasets
    assert (dataset.image_directory, dataset.cache_directory) == (workspace.images, workspace.cache)
    assert (dataset.resolution, dataset.caption_extension) == ((1024, 1024), ".txt")
    assert (dataset.batch_size, dataset.num_repeats) == (1, 1)
    assert (dataset.enable_bucket, dataset.bucket_no_upscale) == (True, False)


def test_the_dataset_template_names_the_pods_folders_and_keeps_its_comments(workspace: Workspace) -> None:
    text = TEMPLATE.read_text()
    pod = Workspace(Path("/workspace"))
    (dataset,) = tomllib.loads(text)["datasets"]
    assert dataset["image_directory"] == str(pod.images)
    assert dataset["cache_directory"] == str(pod.cache)
    filled = dataset_toml(text, workspace)
    assert filled == text.replace("/workspace/dataset", str(workspace.root / "dataset"))


def test_the_prompts_show_the_person_in_four_ways() -> None:
    prompts = read_prompts(ROOT / "sample_prompts.txt")
    assert len({prompt.text for prompt in prompts}) == len({prompt.seed for prompt in prompts}) == 4
    assert all("ohwx woman" in prompt.text and "photo" in prompt.text for prompt in prompts)
