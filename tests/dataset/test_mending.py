import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageChops, ImageCms, ImageOps

from musabi.dataset.check import check
from musabi.dataset.config import DatasetConfig, read_config
from musabi.dataset.mending import Mended, mend, usual_place
from musabi.errors import MachineError, RequestError
from musabi.recipes.recipe import DatasetRules


def mended(config: DatasetConfig, target: Path) -> Mended:
    return mend(config, check(config).seen, target)


def worst(one: Image.Image, other: Image.Image) -> int:
    """Return the largest difference of two pictures in any channel, 0 to 255."""
    return max(
        high for _, high in ImageChops.difference(one.convert("RGB"), other.convert("RGB")).getextrema()
    )


@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("name", ["phone.jpg", "phone.png", "phone.webp", "phone.avif"])
def test_the_copy_of_a_turned_photo_is_as_it_is_seen(
    folder: Any, tmp_path: Path, name: str, orientation: int
) -> None:
    image = folder.add(name, (80, 48), orientation=orientation)
    with Image.open(image) as opened:
        seen = ImageOps.exif_transpose(opened).convert("RGB")
    copy = mended(folder.config(), tmp_path / "copy")
    (change,) = copy.outcome.changes
    assert change.what == ("turned upright",)
    with Image.open(copy.folder / "images" / change.name) as opened:
        assert opened.size == seen.size
        assert worst(opened, seen) <= 12
    assert check(read_config(copy.toml)).rotated == ()


def test_transparent_parts_become_white_and_16_bits_keep_their_shades(folder: Any, tmp_path: Path) -> None:
    Image.new("RGBA", (64, 64), (255, 0, 0, 0)).save(folder.add("clear.png"))
    Image.new("I;16", (64, 64), 0x8080).save(folder.add("deep.png"))
    copy = mended(folder.config(), tmp_path / "copy").folder / "images"
    with Image.open(copy / "clear.png") as opened:
        assert opened.convert("RGB").getpixel((5, 5)) == (255, 255, 255)
    with Image.open(copy / "deep.png") as opened:
        assert opened.convert("L").getpixel((5, 5)) == 0x80


def test_the_colour_profile_is_kept_with_the_picture(folder: Any, tmp_path: Path) -> None:
    image = folder.add("phone.jpg", (80, 48), orientation=6)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    with Image.open(image) as opened:
        opened.save(image, exif=opened.getexif(), icc_profile=profile)
    copy = mended(folder.config(), tmp_path / "copy")
    with Image.open(copy.folder / "images" / "phone.jpg") as opened:
        assert opened.info["icc_profile"] == profile


def test_a_phones_heic_is_upright_in_the_copy(folder: Any, tmp_path: Path) -> None:
    import pillow_heif

    folder.add("good.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = pillow_heif.from_pillow(Image.new("RGB", (80, 48), "navy"))
    picture.save(folder.images / "phone.heic", exif=exif.tobytes())
    copy = mended(folder.config(), tmp_path / "copy")
    with Image.open(copy.folder / "images" / "phone.jpg") as opened:
        assert opened.size == (48, 80)


def test_a_folder_with_something_in_it_is_never_written_to(folder: Any, tmp_path: Path) -> None:
    folder.add("a.png")
    target = tmp_path / "copy"
    target.mkdir()
    assert mended(folder.config(), target).outcome.images == 1
    before = sorted(target.rglob("*"))
    with pytest.raises(RequestError, match="is there already"):
        mended(folder.config(), target)
    assert sorted(target.rglob("*")) == before
    with pytest.raises(RequestError, match="is there already"):
        mended(folder.config(), folder.toml)


def test_a_stop_on_the_way_leaves_nothing(folder: Any, tmp_path: Path) -> None:
    for number in range(4):
        folder.add(f"{number}.png")
    config = folder.config()

    def stop(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        mend(config, check(config).seen, tmp_path / "out" / "copy", stop)
    assert list((tmp_path / "out").iterdir()) == []
    assert len(list(folder.images.glob("*.png"))) == 4


def test_a_disk_that_is_too_small_is_said_before_anything_is_written(
    folder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.add("a.png")
    monkeypatch.setattr("musabi.hub.room.ROOM_LEFT", 2**80)
    with pytest.raises(MachineError, match="is too small"):
        mended(folder.config(), tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_a_jsonl_becomes_a_folder_with_captions(folder: Any, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    images = [folder.add("a.png", caption=None), folder.add("b.Jpg".lower(), caption=None)]
    images.append(Path(images[0]).rename(elsewhere / "b.png"))
    lines = [{"image_path": str(image), "caption": f"été {image.name}"} for image in images[1:]]
    listed = folder.root / "list.jsonl"
    listed.write_text("".join(json.dumps(line) + "\n" for line in lines))
    toml = folder.config().path
    text = toml.read_text().replace(f'image_directory = "{folder.images}"', f'image_jsonl_file = "{listed}"')
    toml.write_text(text.replace('caption_extension = ".txt"\n', ""))
    copy = mended(read_config(toml), tmp_path / "copy")
    captions = {path.name: path.read_text() for path in (copy.folder / "images").glob("*.txt")}
    assert captions == {"b.txt": "été b.jpg\n", "b-2.txt": "été b.png\n"}
    assert check(read_config(copy.toml)).images == 2


def test_control_images_keep_their_names_and_are_mended_too(folder: Any, tmp_path: Path) -> None:
    rules = DatasetRules(control="any", keys=("control_directory",))
    folder.add("a.png")
    controls = folder.root / "control"
    controls.mkdir()
    Image.new("RGB", (64, 64)).save(controls / "a_0.tiff")
    toml = folder.config().path
    toml.write_text(f'{toml.read_text()}control_directory = "{controls}"\n')
    copy = mended(read_config(toml, rules), tmp_path / "copy")
    assert (copy.folder / "control" / "a_0.png").is_file()
    (item,) = check(read_config(copy.toml, rules)).scans[0].items
    assert item.controls == (copy.folder / "control" / "a_0.png",)


def test_of_two_images_of_one_name_that_have_control_images_the_second_is_left_out(
    folder: Any, tmp_path: Path
) -> None:
    rules = DatasetRules(control="any", keys=("control_directory",))
    folder.add("a.png")
    folder.add("a.jpg")
    (folder.root / "control").mkdir()
    Image.new("RGB", (64, 64)).save(folder.root / "control" / "a.png")
    toml = folder.config().path
    toml.write_text(f'{toml.read_text()}control_directory = "{folder.root / "control"}"\n')
    copy = mended(read_config(toml, rules), tmp_path / "copy")
    assert [path.name for path in (copy.folder / "images").glob("a*.[jp]*")] == ["a.jpg"]
    ((file, reason),) = copy.outcome.left_out
    assert file.name == "a.png" and "shares its name" in reason


def test_several_datasets_each_get_folders_of_their_own(folder: Any, tmp_path: Path) -> None:
    folder.add("a.png")
    second = folder.root / "second"
    second.mkdir()
    Image.new("RGB", (64, 64)).save(second / "a.png")
    (second / "a.txt").write_text("another")
    toml = folder.config().path
    toml.write_text(
        f'{toml.read_text()}[[datasets]]\ncaption_extension = ".txt"\nresolution = 64\n'
        f'image_directory = "{second}"\ncache_directory = "{folder.root / "cache2"}"\n'
    )
    copy = mended(read_config(toml), tmp_path / "copy")
    found = sorted(path.relative_to(copy.folder).as_posix() for path in copy.folder.rglob("*.png"))
    assert found == ["images-1/a.png", "images-2/a.png"]
    assert check(read_config(copy.toml)).images == 2


def test_the_usual_place_lies_beside_the_toml(folder: Any) -> None:
    assert usual_place(folder.config()) == folder.root / "dataset-mended"


def test_nothing_to_copy_is_said(folder: Any, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="There is no image to copy"):
        mended(folder.config(), tmp_path / "copy")
