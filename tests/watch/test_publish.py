"""A run's results in a folder: whole files, nothing twice, nothing of the machine and no secret."""

import json
import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from musabi.errors import MachineError, RequestError
from musabi.job.record import RunFolder, RunState
from musabi.watch.publish import Published, contents, publish
from small.finished_run import NAME, make_run

SECRET = "hf_Averymarked_Secret_value"
DEFAULT = {
    f"{NAME}.safetensors", f"comfyui/{NAME}.safetensors", "README.md", "training.json", "dataset.toml",
    "sample-grid.png", f"samples/{NAME}_e000002_00_20251009091500_42_000.png",
    f"samples/{NAME}_e000002_01_20251009091500_42_000.png",
}  # fmt: skip


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return make_run(tmp_path / "space")


@pytest.fixture
def to(tmp_path: Path) -> Path:
    return tmp_path / "out"


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_the_final_lora_its_samples_a_card_and_the_settings_are_published(run: RunFolder, to: Path) -> None:
    published = publish(run, str(to), {})
    assert set(tree(to)) == set(published.sent) == DEFAULT
    assert (to / f"{NAME}.safetensors").read_bytes() == (
        run.path.parents[1] / "output" / f"{NAME}.safetensors"
    ).read_bytes()
    with Image.open(to / "sample-grid.png") as sheet:
        assert sheet.width > 2 * 256 and sheet.height > 2 * 256
    card = (to / "README.md").read_text()
    assert 'instance_prompt: "ohwx woman"' in card and "Trained: 20 steps in 10 min 00 s." in card


def test_publishing_again_sends_nothing_and_a_change_sends_what_changed(run: RunFolder, to: Path) -> None:
    publish(run, str(to), {})
    before = {path: path.stat().st_mtime_ns for path in to.rglob("*") if path.is_file()}
    again = publish(run, str(to), {})
    assert again.sent == () and set(again.unchanged) == DEFAULT
    assert {path: path.stat().st_mtime_ns for path in to.rglob("*") if path.is_file()} == before
    assert publish(run, str(to), {}, trigger="zork").sent == ("README.md",)
    assert 'instance_prompt: "zork"' in (to / "README.md").read_text()


def test_every_checkpoint_goes_along_on_request(run: RunFolder, to: Path) -> None:
    publish(run, str(to), {}, all_checkpoints=True)
    more = set(tree(to)) - DEFAULT
    assert more == {
        f"{NAME}-000001.safetensors",
        f"samples/{NAME}_e000001_00_20251009091500_42_000.png",
        f"samples/{NAME}_e000001_01_20251009091500_42_000.png",
    }


def test_a_dry_run_lists_the_same_and_writes_nothing(run: RunFolder, to: Path) -> None:
    would = contents(run, str(to), {})
    assert not to.exists() and run.load().published == []
    assert {name for name, _ in would.files} == DEFAULT
    publish(run, str(to), {})
    assert dict(would.files) == {name: len(content) for name, content in tree(to).items()}


def test_the_name_and_the_id_of_the_run_may_stand_in_the_destination(run: RunFolder, to: Path) -> None:
    publish(run, f"{to}/{{name}}/{{run}}", {})
    assert (to / NAME / "run-1" / "README.md").is_file()


def test_the_record_notes_each_place_once(run: RunFolder, to: Path) -> None:
    publish(run, str(to), {})
    publish(run, str(to / "b"), {})
    publish(run, str(to), {})
    assert [one.place for one in run.load().published] == [str(to / "b"), str(to)]
    assert run.load().state is RunState.DONE


def test_nothing_of_the_machine_and_no_secret_is_published(run: RunFolder, to: Path) -> None:
    environ = {"HF_TOKEN": SECRET, "AWS_SECRET_ACCESS_KEY": "anothermarkedsecret"}
    images = run.path.parents[1] / "dataset" / "images"
    for caption in images.glob("*.txt"):
        caption.write_text(f"{SECRET} woman, {caption.stem}")
    publish(run, str(to), environ)
    said = {
        name: content for name, content in tree(to).items() if not name.endswith((".safetensors", ".png"))
    }
    for name, content in said.items():
        for marked in (
            SECRET,
            "anothermarkedsecret",
            "wandbsecretvalue",
            "hf_inline",
            str(run.path.parents[1]),
        ):
            assert marked.encode() not in content, f"{marked} in {name}"
    settings = json.loads((to / "training.json").read_text())
    assert settings["job"]["extra_train_args"] == ["--wandb_api_key", "...", "--huggingface_token=..."]
    assert tomllib.loads((to / "dataset.toml").read_text())["datasets"][0]["image_directory"] == "images"


def test_a_run_that_did_not_end_gives_its_newest_checkpoint(run: RunFolder, to: Path) -> None:
    record = run.load()
    record.state = RunState.STOPPED
    record.files = [file for file in record.files if file.path.stem == f"{NAME}-000001"]
    run.save(record)
    publish(run, str(to), {})
    assert f"{NAME}-000001.safetensors" in tree(to) and f"{NAME}.safetensors" not in tree(to)
    assert "did not go to its end" in (to / "README.md").read_text()


def test_samples_dataset_and_prompts_may_be_gone(run: RunFolder, to: Path) -> None:
    shutil.rmtree(run.path.parents[1] / "dataset")
    shutil.rmtree(run.path.parents[1] / "output" / "sample")
    publish(run, str(to), {})
    assert set(tree(to)) == {
        f"{NAME}.safetensors",
        f"comfyui/{NAME}.safetensors",
        "README.md",
        "training.json",
    }


def test_a_run_without_a_lora_has_nothing_to_publish(run: RunFolder, to: Path) -> None:
    shutil.rmtree(run.path.parents[1] / "output")
    with pytest.raises(RequestError, match="nothing to publish"):
        publish(run, str(to), {})
    assert not to.exists()


@pytest.mark.parametrize(
    ("destination", "public", "words"),
    [
        ("hf:me/x", False, "needs a token"),
        ("hf:dataset/me/x", False, "model repo"),
        ("s3://bucket/x", False, "AWS_ACCESS_KEY_ID"),
        ("/tmp/x", True, "--public is for the hub"),  # noqa: S108 - never written
        ("ftp://x", False, "no destination"),
    ],
)
def test_what_can_not_work_is_refused_before_a_file_is_read(
    destination: str, public: bool, words: str, run: RunFolder, tmp_path: Path
) -> None:
    with pytest.raises(RequestError, match=words):
        publish(run, destination, {"HOME": str(tmp_path), "HF_HOME": str(tmp_path)}, public=public)


def test_a_runner_that_is_at_work_keeps_its_record_to_itself(run: RunFolder, to: Path) -> None:
    from musabi.identity import identity
    from musabi.job.record import own_process

    record = run.load()
    record.state = RunState.RUNNING
    record.container = identity()
    record.pid, record.pid_started = own_process()
    run.save(record)
    before = run.record_file.read_bytes()
    assert isinstance(publish(run, str(to), {}), Published)
    assert run.record_file.read_bytes() == before


def test_a_file_that_is_replaced_is_never_half_there(
    run: RunFolder, to: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(run, str(to), {})
    lora = run.path.parents[1] / "output" / f"{NAME}.safetensors"
    old = (to / lora.name).read_bytes()
    lora.write_bytes(old[:-4] + b"more")
    copy: Callable[..., object] = shutil.copyfile

    def breaks(source: Path, target: Path) -> None:
        copy(source, target)
        target.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", breaks)
    with pytest.raises(MachineError, match="out failed"):
        publish(run, str(to), {})
    assert (to / lora.name).read_bytes() == old
    assert not [path for path in to.rglob("*") if path.name.startswith(".")]


@pytest.mark.parametrize("token", ["hf_Marked_Token123", 'quo"te\\d-s\u00e9cret'])
def test_a_token_in_any_text_that_people_write_stays_here(token: str, run: RunFolder, to: Path) -> None:
    dataset = run.path.parents[1] / "dataset"
    for caption in (dataset / "images").glob("*.txt"):
        caption.write_text(f"{token} woman, {caption.stem}")
    (dataset / "sample_prompts.txt").write_text(f"a {token} in rain\n")
    record = run.load()
    record.job |= {"optimizer": token, "extra_train_args": [f"--comment={token}"]}
    run.save(record)
    for trigger in (None, f"{token} x"):
        publish(run, str(to), {"HF_TOKEN": token}, trigger=trigger)
        for name in ("README.md", "training.json", "dataset.toml"):
            plain = (to / name).read_text()
            assert not [mark for mark in (token, "Token123", "quo", "cret") if mark in plain], name


def test_a_password_that_is_a_plain_word_destroys_no_name_of_ours(run: RunFolder, to: Path) -> None:
    words = ("musabi", "z-image", "safetensors", "schedule", "image_directory", "resolution", "samples")
    publish(run, str(to), {})
    before = tree(to)
    publish(run, str(to), {f"PASSWORD_{number}": word for number, word in enumerate(words)})
    after = tree(to)
    assert after["README.md"] == before["README.md"] and after["dataset.toml"] == before["dataset.toml"]
    assert json.loads(after["training.json"]).keys() == json.loads(before["training.json"]).keys()
    assert json.loads(after["training.json"])["versions"] == {"musabi": "0.1.0", "torch": "2.9.1"}


def test_every_sample_goes_along_however_many_moments_there_are(run: RunFolder, to: Path) -> None:
    samples = run.path.parents[1] / "output" / "sample"
    for epoch in range(3, 31):
        source = samples / f"{NAME}_e000002_00_20251009091500_42_000.png"
        shutil.copyfile(source, samples / source.name.replace("e000002", f"e{epoch:06d}"))
    publish(run, str(to), {}, all_checkpoints=True)
    assert len([name for name in tree(to) if name.startswith("samples/")]) == 4 + 28
    with Image.open(to / "sample-grid.png") as sheet:
        assert sheet.width < 13 * 270


def test_a_path_behind_an_option_is_cut_to_its_name(run: RunFolder, to: Path) -> None:
    record = run.load()
    record.job |= {"extra_train_args": ["--network_weights=/workspace/private/x.safetensors"]}
    run.save(record)
    publish(run, str(to), {})
    settings = json.loads((to / "training.json").read_text())
    assert settings["job"]["extra_train_args"] == ["--network_weights=x.safetensors"]
