from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageOps

from musabi.dataset.check import check
from musabi.dataset.rotation import fix_rotation
from musabi.errors import MachineError


@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("name", ["phone.jpg", "phone.png", "phone.webp", "phone.avif"])
def test_the_image_is_stored_as_it_is_seen(folder: Any, name: str, orientation: int) -> None:
    image = folder.add(name, (80, 48), orientation=orientation)
    with Image.open(image) as opened:
        seen = ImageOps.exif_transpose(opened).convert("RGB")
    before = image.read_bytes()
    kept = fix_rotation(image)
    assert kept == folder.root / "originals" / "images" / name
    assert kept.read_bytes() == before
    with Image.open(image) as opened:
        assert not opened.getexif()
        assert opened.size == seen.size
        worst = max(high for _, high in _difference(opened.convert("RGB"), seen).getextrema())
    assert worst <= 12
    assert check(folder.config()).rotated == ()


def _difference(one: Image.Image, other: Image.Image) -> Image.Image:
    from PIL import ImageChops

    return ImageChops.difference(one, other)


def test_the_colour_profile_and_the_permissions_are_kept(folder: Any) -> None:
    from PIL import ImageCms

    image = folder.add("phone.jpg", (80, 48), orientation=6)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    with Image.open(image) as opened:
        opened.save(image, exif=opened.getexif(), icc_profile=profile)
    image.chmod(0o600)
    fix_rotation(image)
    with Image.open(image) as opened:
        assert opened.info["icc_profile"] == profile
    assert image.stat().st_mode & 0o777 == 0o600


def test_a_kill_between_the_copy_and_the_turn_is_mended_by_another_run(
    folder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from musabi.dataset import rotation

    image = folder.add("phone.jpg", (80, 48), orientation=6)

    def killed(image: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(rotation, "_write_upright", killed)
        fix_rotation(image)
    fix_rotation(image)
    assert [path.name for path in (folder.root / "originals" / "images").iterdir()] == ["phone.jpg"]


def test_another_original_of_that_name_is_never_overwritten(folder: Any) -> None:
    first = fix_rotation(folder.add("phone.jpg", (80, 48), orientation=6))
    content = first.read_bytes()
    second = fix_rotation(folder.add("phone.jpg", (48, 80), orientation=3))
    assert second.name == "phone-2.jpg"
    assert first.read_bytes() == content


def test_a_folder_that_cannot_be_written_is_named(folder: Any) -> None:
    image = folder.add("phone.jpg", (80, 48), orientation=6)
    (folder.root / "originals").write_text("a file is in the way")
    with pytest.raises(MachineError, match=r"phone\.jpg could not be stored upright"):
        fix_rotation(image)
