import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from musabi.dataset.asked import Asked
from musabi.dataset.check import Report, check, check_before_run, require_trainable
from musabi.dataset.config import read_config
from musabi.dataset.gather import dataset_facts
from musabi.errors import RequestError
from musabi.job.model import Caching
from musabi.recipes.recipe import DatasetRules

PLAIN = ("white", "ivory", "snow")
"""Colours in which the white corner of a drawn picture does not show: too even to look like another."""


def said(report: Report, level: str) -> list[str]:
    return [finding.message for finding in report.findings if finding.level == level]


def old(image: Path) -> Path:
    """Set the file's times back, so that it is not one that changes just now."""
    os.utime(image, (1, 1))
    return image


def refusal(report: Report) -> str:
    with pytest.raises(RequestError) as caught:
        require_trainable(report)
    return str(caught.value)


def gather(folder: Any, allow: bool = False) -> None:
    dataset_facts(
        folder.config(),
        "musubi",
        Caching(),
        latent_weights=(folder.root / "vae",),
        text_weights=(folder.root / "te",),
        allow_missing_captions=allow,
    )


def test_a_good_dataset_has_no_findings_and_its_numbers(folder: Any) -> None:
    for number, color in enumerate(PLAIN):
        folder.add(f"square{number}.png", (64, 64), color=color)
    folder.add("wide.jpg", (96, 48), color="white")
    report = check(folder.config(num_repeats=2, batch_size=2))
    assert report.findings == ()
    assert (report.images, report.steps_per_epoch, report.trainable) == (4, 4, True)
    assert [(bucket.width, bucket.images, bucket.batches) for bucket in report.buckets] == [
        (64, 3, 3),
        (80, 1, 1),
    ]
    require_trainable(report)


def test_the_report_is_json(folder: Any) -> None:
    folder.add("a.png", caption="")
    values = json.loads(json.dumps(check(folder.config()).as_json()))
    assert values["trainable"] is True
    assert values["images"] == values["steps_per_epoch"] == 1
    assert (
        values["buckets"][0] | {"width": 64, "height": 64, "images": 1, "batches": 1} == values["buckets"][0]
    )
    assert values["findings"][0]["level"] == "warning"
    assert values["findings"][0]["path"] == str(folder.images)


def test_a_folder_without_images_is_an_error(folder: Any) -> None:
    message = refusal(check(folder.config()))
    assert message.startswith(f"There are no images to train on in {folder.images}.")
    assert "photo.txt" in message


def test_a_folder_without_images_says_where_they_may_be(folder: Any) -> None:
    folder.add("a.gif")
    assert "does not take a.gif. Save them as PNG or JPEG, or run musabi check --fix" in refusal(
        check(folder.config())
    )
    (folder.images / "10_woman").mkdir()
    assert "subfolders (10_woman). Move the images up." in refusal(check(folder.config()))


def test_images_without_captions_are_listed_up_to_ten(folder: Any) -> None:
    for number in range(13):
        folder.add(f"{number:02d}.png", caption=None)
    folder.add("good.png")
    message = refusal(check(folder.config()))
    assert message.startswith(f"13 images in {folder.images} without a .txt caption file: 00.png, 01.png, ")
    assert "09.png and 3 more." in message
    assert "--allow-missing-captions" in message


def test_missing_captions_can_be_allowed(folder: Any) -> None:
    folder.add("bare.png", caption=None)
    folder.add("good.png")
    report = check(folder.config(), Asked(allow_missing_captions=True))
    require_trainable(report)
    assert said(report, "warning") == [
        f"1 image in {folder.images} without a .txt caption file: bare.png. They are not trained on."
    ]
    assert report.images == 1


def test_allowing_missing_captions_does_not_allow_none_at_all(folder: Any) -> None:
    folder.add("bare.png", caption=None)
    assert "no images to train on" in refusal(check(folder.config(), Asked(allow_missing_captions=True)))


@pytest.mark.parametrize("name", ["cut.jpg", "cut.png", "cut.webp", "cut.bmp", "progressive.jpg"])
def test_a_cut_off_image_is_an_error_that_names_it(folder: Any, name: str) -> None:
    image = folder.add(name, (640, 480))
    noise = Image.effect_noise((640, 480), 90).convert("RGB")
    noise.save(image, progressive=True) if "progressive" in name else noise.save(image)
    image.write_bytes(image.read_bytes()[:-3000])
    folder.add("good.png")
    report = check(folder.config())
    message = refusal(report)
    assert message.startswith(str(image))
    assert message.endswith("Replace it or remove it.")
    assert report.images == 1


def test_an_image_of_the_wrong_kind_is_an_error_before_anything_is_decoded(folder: Any) -> None:
    (folder.images / "a.png").write_text("no image")
    (folder.images / "a.txt").write_text("caption")
    message = f"{folder.images / 'a.png'} is not an image. Replace it or remove it."
    assert refusal(check(folder.config())) == message
    with pytest.raises(RequestError, match="is not an image"):
        gather(folder)


def test_images_that_would_share_a_cache_file_are_an_error(folder: Any) -> None:
    folder.add("a.png")
    folder.add("a.jpg")
    assert refusal(check(folder.config())) == (
        f'a.jpg, a.png in {folder.images} share the name "a", and the trainer would keep only one of them. '
        "Rename the others, with their captions."
    )


def test_an_image_with_no_side_left_in_its_bucket_is_an_error(folder: Any) -> None:
    folder.add("thin.png", (200, 10))
    message = refusal(check(folder.config(bucket_no_upscale=True)))
    assert "has 200x10 pixels, too few for a side of 16" in message


def test_many_errors_are_cut_short_and_counted(folder: Any) -> None:
    for number in range(14):
        (folder.images / f"{number:02d}.png").write_bytes(b"")
        (folder.images / f"{number:02d}.txt").write_text("x")
    lines = refusal(check(folder.config())).splitlines()
    assert len(lines) == 11
    assert lines[-1] == "And 4 more faults: musabi check lists them all."


def test_facts_are_not_gathered_of_a_dataset_that_cannot_be_trained_on(folder: Any) -> None:
    with pytest.raises(RequestError, match="no images to train on"):
        gather(folder)
    folder.add("bare.png", caption=None)
    folder.add("good.png")
    with pytest.raises(RequestError, match=r"1 image in .* without a \.txt caption file: bare\.png"):
        gather(folder)
    gather(folder, allow=True)


def test_exif_rotation_is_a_warning_with_its_mend(folder: Any) -> None:
    image = folder.add("phone.jpg", (80, 48), orientation=6)
    report = check(folder.config())
    require_trainable(report)
    assert report.rotated == (image,)
    message = said(report, "warning")[0]
    assert message.startswith(f"1 image in {folder.images} stored turned or mirrored")
    assert "phone.jpg. Run musabi check --fix" in message


def test_a_rotation_noted_after_the_pixels_is_found_by_decoding(folder: Any) -> None:
    image = folder.add("late.png", (80, 48), orientation=6)
    data = image.read_bytes()
    start = data.index(b"eXIf") - 4
    chunk = data[start : start + 12 + int.from_bytes(data[start : start + 4], "big")]
    end = data.index(b"IEND") - 4
    image.write_bytes(data[:start] + data[start + len(chunk) : end] + chunk + data[end:])
    assert check(folder.config()).rotated == (image,)


def test_empty_and_equal_captions_are_warnings(folder: Any) -> None:
    folder.add("a.png", caption="", color="white")
    folder.add("b.png", caption=" ")
    warnings = said(check(folder.config()), "warning")
    assert warnings[0] == f"2 empty captions in {folder.images}: a.txt, b.txt. Write what the image shows."
    assert warnings[-1].startswith(f"All 2 captions in {folder.images} are the same.")


def test_a_byte_order_mark_in_a_caption_is_a_warning(folder: Any) -> None:
    folder.add("a.png", caption="\ufeffohwx woman")
    assert "byte-order mark" in said(check(folder.config()), "warning")[0]


def test_an_image_enlarged_more_than_twice_is_a_warning(folder: Any) -> None:
    folder.add("twice.png", (32, 32))
    folder.add("thrice.png", (21, 21))
    warnings = said(check(folder.config()), "warning")
    assert len(warnings) == 1
    assert warnings[0].startswith(f"1 small image in {folder.images} enlarged more than 2 times: thrice.png.")
    assert "The worst, thrice.png, has 21x21 pixels and is enlarged 3.0 times" in warnings[0]


def test_ignored_files_are_a_warning_and_subfolders_a_note(folder: Any) -> None:
    folder.add("a.png", color="white")
    folder.add("b.Jpg")
    (folder.images / "old").mkdir()
    report = check(folder.config())
    (warning,) = said(report, "warning")
    assert warning.startswith(f"The trainer passes over 1 file in {folder.images}: b.Jpg.")
    assert warning.endswith("musabi check --fix makes a copy that has them converted.")
    assert said(report, "note") == [f"The trainer does not look into the subfolders of {folder.images}: old."]


def test_a_bucket_with_less_than_a_batch_is_a_warning(folder: Any) -> None:
    for number, color in enumerate(PLAIN[:2]):
        folder.add(f"square{number}.png", (64, 64), color=color)
    folder.add("wide.png", (96, 48), color="white")
    warnings = said(check(folder.config(batch_size=2)), "warning")
    assert len(warnings) == 1
    assert "batch size of 2 fall into 80x48 (1 image)" in warnings[0]
    assert check(folder.config(batch_size=2, num_repeats=2)).findings == ()


def test_errors_come_first(folder: Any) -> None:
    folder.add("a.png", caption="")
    folder.add("b.png", caption=None)
    levels = [finding.level for finding in check(folder.config()).findings]
    assert levels == ["error", "warning"]


def test_progress_counts_the_images_of_all_datasets(
    folder: Any, write_toml: Callable[[str], Path], tmp_path: Path
) -> None:
    folder.add("a.png")
    folder.add("b.png", color="teal")
    Image.new("RGB", (64, 64)).save(tmp_path / "images" / "c.png")
    (tmp_path / "images" / "c.txt").write_text("c")
    dataset = '[[datasets]]\nimage_directory = "{}"\ncache_directory = "{}"\n'
    path = write_toml(
        '[general]\ncaption_extension = ".txt"\nresolution = 64\n'
        + dataset.format(folder.images, folder.cache)
        + dataset.format("{images}", "{cache}")
    )
    seen: list[tuple[int, int]] = []
    report = check(read_config(path), progress=lambda done, total: seen.append((done, total)))
    assert report.images == 3
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_the_epochs_for_a_target_are_those_of_a_run_that_aims_at_it(folder: Any) -> None:
    for number in range(5):
        folder.add(f"{number}.png")
    report = check(folder.config(batch_size=2), Asked(target_steps=100))
    assert (report.steps_per_epoch, report.epochs) == (3, 33)
    assert report.as_json()["epochs"] == 33
    assert check(folder.config()).epochs is None


def test_the_check_before_a_run_returns_warnings_and_refuses_errors(folder: Any) -> None:
    folder.add("a.png", caption="")
    assert [finding.level for finding in check_before_run(folder.config())] == ["warning"]
    folder.add("b.png").write_bytes(b"")
    with pytest.raises(RequestError, match=r"b\.png is empty"):
        check_before_run(folder.config())


def test_a_broken_control_image_stops_the_training_as_its_image_does(folder: Any) -> None:
    folder.add("a.png")
    folder.add("b.png", color="teal")
    controls = folder.root / "control"
    controls.mkdir()
    for name in ("a.jpg", "b.jpg"):
        Image.effect_noise((300, 300), 90).convert("RGB").save(controls / name)
    (controls / "b.jpg").write_bytes((controls / "b.jpg").read_bytes()[:-3000])
    toml = folder.config().path
    toml.write_text(f'{toml.read_text()}control_directory = "{controls}"\n')
    report = check(read_config(toml, DatasetRules(control="any", keys=("control_directory",))))
    assert refusal(report) == f"{controls / 'b.jpg'} is cut off. Replace it or remove it."
    assert report.images == 1


def test_what_a_stopped_check_learnt_is_kept(folder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        old(folder.add(f"{number}.png", color=PLAIN[number]))

    def stop(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr("musabi.dataset.remembered.SETTLED_NS", 0)
    with pytest.raises(KeyboardInterrupt):
        check(folder.config(), progress=stop)
    seen: list[tuple[int, int]] = []
    check(folder.config(), progress=lambda done, total: seen.append((done, total)))
    assert seen == [(3, 3)]
