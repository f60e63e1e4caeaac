"""Only whole files appear in the output folder, under their final names."""

import io
import json
import os
import re
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from musabi.job.harvest import (
    PNG_END,
    STATE_FILES,
    clear_staging,
    collect_left_behind,
    harvest,
    place_pictures,
    staging_folder,
)
from musabi.job.model import Job
from musabi.job.new_run import new_record
from musabi.job.plan import Plan, Schedule, Step
from musabi.whole import safetensors_header


def write_lora(path: Path, metadata: dict[str, str] | None = None, cut: int = 0) -> None:
    header = {"__metadata__": metadata or {}, "w": {"dtype": "U8", "shape": [64], "data_offsets": [0, 64]}}
    text = json.dumps(header).encode()
    data = len(text).to_bytes(8, "little") + text + bytes(64)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data[: len(data) - cut])


def write_state(path: Path, without: str | None = None) -> None:
    write_lora(path / "model.safetensors")
    for name in STATE_FILES:
        if name != without:
            with zipfile.ZipFile(path / name, "w") as archive:
                archive.writestr("data.pkl", b"x" * 100)


@pytest.fixture
def step(tmp_path: Path) -> Step:
    """A training step whose staging folder is there and empty."""
    made = Step(name="train", title="Train", argv=(), staging=staging_folder(tmp_path / "output", "n"))
    clear_staging(made)
    return made


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def take(step: Step, *, final: bool = False) -> list[str]:
    """Harvest; return what came, relative to the output folder."""
    assert step.staging is not None
    output = step.staging.parent
    return [str(file.path.relative_to(output)) for file in harvest(step, output, "n", final=final)]


def test_a_whole_checkpoint_moves_and_a_piece_stays(step: Step) -> None:
    assert step.staging is not None
    write_lora(step.staging / "n-000001.safetensors")
    write_lora(step.staging / "n-000002.safetensors", cut=1)
    assert take(step) == ["n-000001.safetensors"]
    assert names(step.staging.parent) == [".n.writing", "n-000001.safetensors"]
    write_lora(step.staging / "n-000002.safetensors")
    assert take(step) == ["n-000002.safetensors"]


@pytest.mark.parametrize("without", [*STATE_FILES, "model.safetensors"])
def test_a_state_moves_when_its_last_file_is_whole(without: str, step: Step) -> None:
    assert step.staging is not None
    state = step.staging / "n-000001-state"
    write_state(state)
    whole = (state / without).read_bytes()
    (state / without).write_bytes(whole[: len(whole) - 10])
    assert take(step) == []
    (state / without).write_bytes(whole)
    assert take(step) == ["n-000001-state"]


def test_a_state_replaces_the_one_that_stands_there(step: Step) -> None:
    assert step.staging is not None
    old = step.staging.parent / "n-state"
    old.mkdir()
    (old / "left-over").touch()
    write_state(step.staging / "n-state")
    assert take(step) == ["n-state"]
    assert not (old / "left-over").exists()


def test_a_whole_picture_moves(step: Step) -> None:
    assert step.staging is not None
    folder = step.staging / "sample"
    folder.mkdir()
    (folder / "n_e000001_00_20260101000000_000.png").write_bytes(b"\x89PNG" + PNG_END)
    (folder / "n_e000001_01_20260101000000_000.png").write_bytes(b"\x89PNG" + PNG_END[:-1])
    assert take(step) == ["sample/n_e000001_00_20260101000000_000.png"]


def test_a_resumed_leg_is_numbered_on(step: Step) -> None:
    assert step.staging is not None
    leg = replace(step, epoch_offset=10, step_offset=60)
    write_lora(step.staging / "n-000002.safetensors", {"ss_epoch": "2", "ss_steps": "12"})
    write_state(step.staging / "n-000002-state")
    files = harvest(leg, step.staging.parent, "n")
    assert {(file.path.name, file.epoch) for file in files} == {
        ("n-000012.safetensors", 12),
        ("n-000012-state", 12),
    }
    header = safetensors_header(step.staging.parent / "n-000012.safetensors")
    assert header is not None
    assert header[1]["__metadata__"] == {"ss_epoch": "12", "ss_steps": "72"}


def test_what_was_not_asked_for_is_dropped(step: Step) -> None:
    """One interval serves checkpoints every 4 epochs and states every 6."""
    assert step.staging is not None
    picky = replace(step, checkpoint_every=4, state_every=6, epoch_offset=6, step_offset=6)
    for epoch in (2, 4, 6):
        write_lora(step.staging / f"n-{epoch:06d}.safetensors")
        write_state(step.staging / f"n-{epoch:06d}-state")
    write_state(step.staging / "n-state")
    assert sorted(take(picky)) == [
        "n-000008.safetensors",
        "n-000012-state",
        "n-000012.safetensors",
        "n-state",
    ]
    assert names(step.staging) == []


def test_the_last_harvest_leaves_nothing_behind(step: Step) -> None:
    assert step.staging is not None
    write_lora(step.staging / "n.safetensors")
    write_lora(step.staging / "n-000009.safetensors", cut=5)
    assert take(step, final=True) == ["n.safetensors"]
    assert names(step.staging.parent) == ["n.safetensors"]
    assert take(step, final=True) == []


def test_a_new_run_starts_with_an_empty_folder(step: Step) -> None:
    assert step.staging is not None
    write_lora(step.staging / "n-000001.safetensors")
    clear_staging(step)
    assert names(step.staging) == []


def test_what_a_killed_run_left_behind_is_collected(
    step: Step, tmp_path: Path, make_job: Callable[..., Job]
) -> None:
    assert step.staging is not None
    leg = replace(step, epoch_offset=2, step_offset=12)
    write_state(step.staging / "n-000001-state")
    record = new_record("n-1", make_job(output_name="n", output_dir=tmp_path / "output"), Plan(steps=(leg,)))
    assert [file.path.name for file in collect_left_behind(record)] == ["n-000003-state"]
    assert names(tmp_path / "output") == ["n-000003-state"]


def test_a_samplers_whole_pictures_are_named_by_prompt_and_seed(tmp_path: Path) -> None:
    written, folder = tmp_path / ".demo.sampling", tmp_path / "sample"
    written.mkdir()
    whole = b"\x89PNG" + PNG_END
    (written / "20250131-120001_43_000.png").write_bytes(whole)
    (written / "20250131-120000_42_000.png").write_bytes(whole)
    (written / "20250131-120002_44_000.png").write_bytes(whole[:-2])
    step = Step("sample", "Sample", (), pictures=(written, folder, "demo"))
    files = place_pictures(step)
    assert [re.sub(r"\d{14}", "TIME", file.path.name) for file in files] == [
        "demo_00_TIME_42.png",
        "demo_01_TIME_43.png",
    ]
    assert not written.exists()


def video(frames: int = 3) -> bytes:
    """Return a real MP4 file."""
    import av
    import numpy as np

    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=8)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for _ in range(frames):
            picture = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def test_a_video_moves_when_its_last_byte_is_there(step: Step) -> None:
    assert step.staging is not None
    whole = video()
    sample = step.staging / "sample" / "n_e000001_00_20260101000000_42.mp4"
    sample.parent.mkdir()
    for cut in (0, 4, len(whole) // 2, len(whole) - 1):
        sample.write_bytes(whole[:cut])
        assert take(step) == []
    sample.write_bytes(whole)
    assert take(step) == ["sample/n_e000001_00_20260101000000_42.mp4"]


def test_a_video_that_is_being_written_stays(step: Step) -> None:
    """As its writer leaves it between the frames: the size of the data is not known yet."""
    import av
    import numpy as np

    assert step.staging is not None
    sample = step.staging / "sample" / "n_e000001_00_20260101000000.mp4"
    sample.parent.mkdir()
    with av.open(str(sample), "w") as container:
        stream = container.add_stream("mpeg4", rate=8)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for _ in range(40):
            noise = np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(noise, format="rgb24")))
        assert take(step) == []
        container.mux(stream.encode(None))
    assert len(take(step)) == 1


def test_kandinskys_samples_get_the_runs_name_and_the_runs_steps(step: Step) -> None:
    assert step.staging is not None
    resumed = replace(step, step_offset=100)
    (step.staging / "sample").mkdir()
    (step.staging / "sample" / "sample_000012_01.mp4").write_bytes(video())
    (step.staging / "sample" / "sample_000012_01.png").write_bytes(b"\x89PNG" + PNG_END)
    (step.staging / "sample" / "notes.txt").write_text("none of the run's")
    names = [re.sub(r"\d{14}", "TIME", name) for name in take(resumed)]
    assert sorted(names) == ["sample/n_000112_01_TIME.mp4", "sample/n_000112_01_TIME.png"]


def test_a_samplers_videos_and_layers_are_named_by_prompt(tmp_path: Path) -> None:
    folder = tmp_path / "sample"
    written = folder / ".demo.sampling"
    written.mkdir(parents=True)
    (written / "20250131-120000-000_42.mp4").write_bytes(video())
    (written / "20250131-120001-000_43.mp4").write_bytes(video()[:-9])
    for layer in range(2):
        (written / f"20250131-120002-000_44_{layer:03d}.png").write_bytes(b"\x89PNG" + PNG_END)
    step = Step("sample", "Sample", (), pictures=(written, folder, "demo"), first_picture=3)
    assert [re.sub(r"\d{14}", "TIME", file.path.name) for file in place_pictures(step)] == [
        "demo_03_TIME_42.mp4",
        "demo_04_TIME_44_000.png",
        "demo_04_TIME_44_001.png",
    ]


def test_seeds_of_three_digits_and_layers_by_name_are_no_other_prompts(tmp_path: Path) -> None:
    folder = tmp_path / "sample"
    written = folder / ".demo.sampling"
    written.mkdir(parents=True)
    (written / "20250131-120000-000_0_123.mp4").write_bytes(video())
    for layer in range(2):
        name = f"20250131-120002-000_layer{layer}_321_000.png"
        (written / name).write_bytes(b"\x89PNG" + PNG_END)
    step = Step("sample", "Sample", (), pictures=(written, folder, "demo"))
    assert [re.sub(r"\d{14}", "TIME", file.path.name) for file in place_pictures(step)] == [
        "demo_00_TIME_123.mp4",
        "demo_01_TIME_321_000.png",
        "demo_01_TIME_321_001.png",
    ]


def test_kept_latents_move_like_pictures_and_are_counted_apart(tmp_path: Path) -> None:
    folder = tmp_path / "sample"
    written = folder / ".demo.sampling"
    written.mkdir(parents=True)
    header = b'{"latent":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}'
    whole = len(header).to_bytes(8, "little") + header + b"ab"
    (written / "20250131-120000-000_42_latent.safetensors").write_bytes(whole)
    (written / "20250131-120001-000_123_latent.safetensors").write_bytes(whole)
    (written / "20250131-120002-000_44_latent.safetensors").write_bytes(whole[:-1])
    (written / "20250131-120003-000_42_000.png").write_bytes(b"\x89PNG" + PNG_END)
    step = Step("sample", "Sample", (), pictures=(written, folder, "demo"))
    assert [re.sub(r"\d{14}", "TIME", file.path.name) for file in place_pictures(step)] == [
        "demo_00_TIME_42.png",
        "demo_00_TIME_42_latent.safetensors",
        "demo_01_TIME_123_latent.safetensors",
    ]


def test_a_picture_of_decoded_latents_has_no_seed_in_its_name_twice(tmp_path: Path) -> None:
    """musubi-tuner names it TIME_SEED__NAME-OF-THE-LATENTS_000.png."""
    folder = tmp_path / "sample"
    written = folder / ".demo.decoding-00"
    written.mkdir(parents=True)
    (written / "20250131-120000-000_42__demo_00_20250131110000_42_latent_000.png").write_bytes(PNG_END)
    step = Step("sample", "Decode", (), pictures=(written, folder, "demo_00_20250131110000_42_latent"))
    (file,) = place_pictures(step)
    assert re.fullmatch(r"demo_00_20250131110000_42_latent_00_\d{14}\.png", file.path.name)


def test_states_that_a_killed_runner_had_no_time_to_remove_go_with_the_rest(
    make_job: Callable[..., Job],
) -> None:
    job = make_job(keep_last_states=1)
    timing = Schedule(4, 3, 12, 0, 1, 1, None)
    record = new_record("run", job, Plan((Step("train", "Train", ()),), timing))
    for epoch in (1, 2, 3):
        state = job.output_dir / f"demo-{epoch:06d}-state"
        write_state(state)
        os.utime(state, (record.created + epoch, record.created + epoch))
    assert collect_left_behind(record) == []
    assert [path.name for path in job.output_dir.glob("*-state")] == ["demo-000003-state"]


def test_what_can_not_be_moved_stays_and_keeps_nothing_else_back(step: Step) -> None:
    assert step.staging is not None
    output = step.staging.parent
    (output / "sample").write_text("a file where the folder should be")
    picture = step.staging / "sample" / "n_e000001_00_20260101000000_000.png"
    picture.parent.mkdir()
    picture.write_bytes(b"\x89PNG" + PNG_END)
    write_lora(step.staging / "n-000001.safetensors")
    troubles: list[OSError] = []
    files = harvest(step, output, "n", final=True, trouble=troubles.append)
    assert [file.path.name for file in files] == ["n-000001.safetensors"]
    assert len(troubles) == 1 and picture.exists()


def test_a_resumed_checkpoint_is_never_shifted_twice(step: Step) -> None:
    """What did not get its place the first time is as it was written."""
    assert step.staging is not None
    leg = replace(step, epoch_offset=10, step_offset=60)
    write_lora(step.staging / "n-000002.safetensors", {"ss_epoch": "2"})
    output = step.staging.parent / "output"
    output.write_text("a file where the folder should be")
    with pytest.raises(OSError, match="output"):
        harvest(leg, output, "n")
    output.unlink()
    assert len(harvest(leg, output, "n")) == 1 and names(step.staging) == []
    header = safetensors_header(output / "n-000012.safetensors")
    assert header is not None and header[1]["__metadata__"] == {"ss_epoch": "12"}
