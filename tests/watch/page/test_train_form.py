"""What of the form may reach a command line: settings with values, and never an option."""

from pathlib import Path
from typing import Any

import pytest

from musabi.errors import RequestError
from musabi.settings import of_group
from musabi.watch.page.train_form import command, main_fields, more_fields, train_words, values_of


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, []),
        ({"model": "z-image", "output_name": "robot"}, ["--model=z-image", "--output-name=robot"]),
        ({"optimizer": "adamw8bit", "engine": "diffusers"}, ["--optimizer=adamw8bit", "--engine=diffusers"]),
        ({"max_train_epochs": "4", "max_train_steps": "90"}, ["--epochs=4", "--max-steps=90"]),
        ({"network_dim": " 8 ", "seed": "  "}, ["--set=network_dim=8"]),
        ({"output_name": "--overwrite"}, ["--output-name=--overwrite"]),
        ({"network_dim": "--resume"}, ["--set=network_dim=--resume"]),
        ({"extra_train_args": "--max_grad_norm 0.5"}, ["--set=extra_train_args=--max_grad_norm 0.5"]),
        ({"trigger_word": "a=b; rm -rf $HOME"}, ["--set=trigger_word=a=b; rm -rf $HOME"]),
    ],
)
def test_each_value_is_one_argument_together_with_its_name(
    given: Any, words: list[str], tmp_path: Path
) -> None:
    assert train_words(values_of(given, tmp_path), "--dry-run") == ["train", *words, "--dry-run"]


@pytest.mark.parametrize(
    "given",
    [
        None,
        ["network_dim"],
        {"resume": "1"},
        {"no_such": "1"},
        {"NETWORK_DIM": "4"},
        {"workspace": "/"},
        {"publish_to": "hf:a/b"},
        {"show_timesteps": "console"},
        {"network_dim": 4},
        {"network_dim": None},
        {"trigger_word": "a\nb"},
        {"trigger_word": "a\0b"},
        {"trigger_word": "a\x1b[2J"},
        {"trigger_word": "a\u202eb"},
        {"trigger_word": "a" * 3000},
    ],
)
def test_what_is_no_setting_of_a_training_or_no_plain_line_is_refused(given: Any, tmp_path: Path) -> None:
    with pytest.raises(RequestError):
        values_of(given, tmp_path)


def test_paths_are_full_and_stay_in_the_workspace(tmp_path: Path) -> None:
    (tmp_path / "out").symlink_to("/etc")
    inside = values_of(
        {"dataset_config": "dataset/../dataset/two.toml", "output_dir": f"{tmp_path}/o"}, tmp_path
    )
    assert inside == {"dataset_config": f"{tmp_path}/dataset/two.toml", "output_dir": f"{tmp_path}/o"}
    for path in ("../else", "/etc/passwd", "out/passwd", "dataset/../../else"):
        with pytest.raises(RequestError, match="DATASET_CONFIG must lie inside"):
            values_of({"dataset_config": path}, tmp_path)


def test_the_command_can_be_pasted_into_a_shell(tmp_path: Path) -> None:
    values = values_of({"output_name": "my robot", "trigger_word": "it's $HOME"}, tmp_path)
    assert command(values) == "musabi train '--output-name=my robot' '--set=trigger_word=it'\"'\"'s $HOME'"


def test_every_setting_of_a_training_has_one_field() -> None:
    shown = [field.variable for field in main_fields()]
    shown += [field.variable for group in more_fields() for field in group.fields]
    assert sorted(shown) == sorted(of_group("job") - {"MODEL", "SHOW_TIMESTEPS"})


def test_what_can_be_chosen_is_a_list_that_says_what_holds_where_nothing_is_chosen() -> None:
    fields = {field.name: field for group in more_fields() for field in group.fields}
    assert [value for value, _ in fields["attention"].choices][:2] == ["auto", "sdpa"]
    assert fields["latent_skip_existing"].choices == (("1", "on"), ("0", "off"))
    assert fields["latent_skip_existing"].planned == "on (planned)"
    assert fields["enable_fp8_llm"].planned == "where it would not fit"
    assert fields["network_module"].help.startswith("lora,") and fields["seed"].help.startswith("Seed")
