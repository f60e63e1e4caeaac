"""What a run's page can start: the very arguments, its own settings, and what is refused before that."""

from pathlib import Path
from typing import Any

import pytest

from musabi.errors import RequestError
from musabi.job.model import Job
from musabi.recipes import make_job
from musabi.settings import load
from musabi.watch.page.run_verbs import VERBS, convert_words, delete_words, grid_words, publish_words
from small.run_page import browser_at, fill, scene_at


@pytest.fixture
def full_world(world: Any) -> Any:
    """A run with samples and checkpoints, of settings that the environment does not hold."""
    fill(world)
    chosen = {
        "network_dim": 7,
        "seed": 5,
        "extra_sample_args": "--flow_shift '3 0'",
        "extra_train_args": "--wandb_api_key k",
    }
    settings = load({"WORKSPACE": str(world.root)}, chosen | {"output_name": "ohwx_v1", "compile": "1"})
    world.record(job=make_job(settings).model_dump(mode="json"))
    return world


def test_a_checkpoint_is_converted_and_deleted_by_its_name(full_world: Any) -> None:
    scene, given = scene_at(full_world.root), {"run": "run-1", "stem": "ohwx_v1-000004"}
    path = str(full_world.output / "ohwx_v1-000004.safetensors")
    assert convert_words(scene, given) == ["convert", path]
    assert delete_words(scene, given) == ["lora", "delete", path]


@pytest.mark.parametrize("name", sorted(name for name in VERBS if name.startswith("run-")))
@pytest.mark.parametrize(
    "given", [{}, {"run": ""}, {"run": ["run-1"]}, {"run": "../runs/run-1"}, {"run": "--all"}]
)
def test_no_verb_takes_another_run_than_one_of_the_workspace(
    full_world: Any, name: str, given: dict[str, Any]
) -> None:
    with pytest.raises(RequestError):
        VERBS[name].argv(scene_at(full_world.root), {"stem": "ohwx_v1", "to": "hf:a/b"} | given)


@pytest.mark.parametrize("stem", ["", "--for-good", "/etc/passwd", "../run-1", 3])
def test_no_other_file_than_a_checkpoint_is_deleted(full_world: Any, stem: Any) -> None:
    with pytest.raises(RequestError):
        delete_words(scene_at(full_world.root), {"run": "run-1", "stem": stem})


def test_a_deleted_checkpoint_lies_in_the_bin(full_world: Any) -> None:
    answer = browser_at(full_world.root).change(
        "/do", {"verb": "run-delete", "run": "run-1", "stem": "ohwx_v1"}
    )
    assert (answer.status_code, answer.json()["message"]) == (
        200,
        "Deleted. It lies in the folder bin beside it.",
    )
    (place,) = (full_world.output / "bin").iterdir()
    assert sorted(str(path.relative_to(place)) for path in place.rglob("*.safetensors")) == [
        "comfyui/ohwx_v1.safetensors",
        "ohwx_v1.safetensors",
    ]


def test_a_grid_is_made_with_the_run_s_own_settings(full_world: Any) -> None:
    scene = scene_at(full_world.root)
    words = grid_words(scene, {"run": "run-1", "which": "all", "strengths": "0.6, 1.0", "base": True})
    assert words[:6] == ["grid", *(str(full_world.output / f"{stem}.safetensors") for stem in (
        "ohwx_v1-000002", "ohwx_v1-000004", "ohwx_v1-000006", "ohwx_v1-000008", "ohwx_v1"))]  # fmt: skip
    assert words[6:9] == [
        "--strengths=0.6,1.0",
        f"--output={full_world.output}/grid/ohwx_v1.png",
        "--with-base",
    ]
    given = dict(word.removeprefix("--set=").split("=", 1) for word in words[9:])
    made = make_job(load(scene.environ, given))
    plain: dict[str, Any] = {"extra_train_args": ()}
    assert made == Job.model_validate(full_world.run.load().job).model_copy(update=plain)
    assert "wandb" not in " ".join(words)


def test_a_grid_of_one_or_of_a_few_has_a_file_of_its_own(full_world: Any) -> None:
    scene = scene_at(full_world.root)
    one = grid_words(scene, {"run": "run-1", "which": "ohwx_v1-000004"})
    few = grid_words(scene, {"run": "run-1", "which": "some"})
    assert one[1:3] == [str(full_world.output / "ohwx_v1-000004.safetensors"), "--strengths=1.0"]
    assert one[3].endswith("grid/ohwx_v1-000004-strengths.png") and few[7].endswith("grid/ohwx_v1-few.png")


@pytest.mark.parametrize("strengths", ["much", "1;2", "0.6 --output=/x", "1,", "1" * 400])
def test_strengths_that_are_none_are_refused(full_world: Any, strengths: str) -> None:
    with pytest.raises(RequestError):
        grid_words(scene_at(full_world.root), {"run": "run-1", "strengths": strengths})


def test_publishing_says_where_and_what(full_world: Any) -> None:
    scene = scene_at(full_world.root)
    given = {
        "run": "run-1",
        "to": " hf:me/{name} ",
        "trigger": "ohwx woman",
        "public": True,
        "everything": True,
    }
    assert publish_words(scene, given) == [
        "publish", "run-1", "--to=hf:me/{name}", "--trigger=ohwx woman", "--public", "--all-checkpoints",
    ]  # fmt: skip
    assert publish_words(scene, {"run": "run-1", "to": "shared"})[2] == f"--to={full_world.root}/shared"


@pytest.mark.parametrize("to", ["", "/etc", "../out", "ftp://x", "hf:nobody", "s3://", "a\nb", ".hidden"])
def test_places_that_can_not_be_right_are_refused_in_words(full_world: Any, to: str) -> None:
    with pytest.raises(RequestError) as refused:
        publish_words(scene_at(full_world.root), {"run": "run-1", "to": to})
    assert str(refused.value).endswith(".")


def test_stopping_and_going_on_are_verbs_of_this_page(full_world: Any) -> None:
    assert VERBS["train-stop"].argv(scene_at(full_world.root), {"run": "run-1"}) == ["stop", "--run=run-1"]
    assert VERBS["train-resume"].argv(scene_at(full_world.root), {"run": "run-1"})[0] == "run"


def test_a_folder_that_leads_out_of_the_workspace_is_no_place(full_world: Any, tmp_path_factory: Any) -> None:
    outside: Path = tmp_path_factory.mktemp("elsewhere")
    (full_world.root / "linked").symlink_to(outside)
    for to in ("linked", f"{full_world.root}/linked"):
        with pytest.raises(RequestError):
            publish_words(scene_at(full_world.root), {"run": "run-1", "to": to})
