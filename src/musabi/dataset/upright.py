"""Stores a picture as the trainer reads it right: upright, 8 bits a channel, RGB, opaque, one frame."""

from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from musabi.dataset.convert_image import HEIC_BRANDS, PHOTOGRAPHS, eight_bits
from musabi.dataset.decoding import NOT_ANIMATED, is_clear
from musabi.dataset.extensions import IMAGE_EXTENSIONS
from musabi.dataset.items import ORIENTATION_TAG, ROTATED
from musabi.dataset.opening import open_picture_file

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

RENAMED = "its ending spelled as the trainer takes it"
JPEG: dict[str, Any] = {"format": "JPEG", "quality": 95, "subsampling": 0}


@dataclass(frozen=True)
class Opened:
    """A picture with what is to be mended in it, in words; `suffix` is that of the file to write."""

    picture: "Picture"
    mends: tuple[str, ...]
    suffix: str

    @property
    def stored_anew(self) -> bool:
        """Whether its bytes will not do, under another name or not."""
        return any(words != RENAMED for words in self.mends)


def open_picture(image: Path, *, keep_alpha: bool = False) -> Opened:
    """Open and decode a picture of any format that Pillow or pillow-heif reads.

    `keep_alpha`: the model trains transparency.

    Raises:
        Exception: of many kinds, as Pillow's decoders do, where it can't be read.
    """
    picture = decoded(image)
    form = picture.format or ""
    mends = tuple(words for words in _mends(picture, image, keep_alpha) if words)
    opened = Opened(picture, mends, ".jpg" if form in PHOTOGRAPHS else ".png")
    if opened.stored_anew:
        return opened
    return replace(opened, suffix=image.suffix.lower() if RENAMED in mends else image.suffix)


def _mends(picture: "Picture", image: Path, keep_alpha: bool) -> list[str]:
    """Return what is to be mended, each in words, "" for what is not."""
    form = picture.format or ""
    taken = image.suffix.lower() in IMAGE_EXTENSIONS and form != "HEIF"
    several = int(getattr(picture, "n_frames", 1)) > 1 and form not in (NOT_ANIMATED, "HEIF")
    return [
        RENAMED if taken and image.suffix not in IMAGE_EXTENSIONS else "",
        "" if taken else f"converted from {'HEIC' if form == 'HEIF' else form}",
        "turned upright" if picture.getexif().get(ORIENTATION_TAG) in ROTATED else "",
        "brought to 8 bits a channel" if picture.mode.startswith(("I", "F")) else "",
        "colours of print turned into those of a screen" if picture.mode == "CMYK" else "",
        "transparent parts made white" if not keep_alpha and is_clear(picture) else "",
        "its first frame taken" if several else "",
    ]


def save_mended(opened: Opened, target: Path, *, keep_alpha: bool = False) -> None:
    """Write the picture, mended, to `target`, whose suffix says the format. Its colour profile is kept.

    Raises:
        OSError: the disk is full.
    """
    from PIL import ImageOps

    profile = opened.picture.info.get("icc_profile")
    picture = ImageOps.exif_transpose(opened.picture)
    if picture.mode == "CMYK":
        picture, profile = _on_screen(picture, profile), None
    picture = eight_bits(picture)
    if not keep_alpha:
        picture = _on_white(picture)
    picture.info = {}
    keep = {"icc_profile": profile} if profile else {}
    if target.suffix == ".jpg":
        picture.convert("L" if picture.mode == "L" else "RGB").save(target, **JPEG, **keep)
    else:
        picture.save(target, "PNG", **keep)


def decoded(image: Path, draft: int | None = None) -> "Picture":
    """Return the first frame, decoded. HEIC is read without teaching all of this process to read it.

    `draft`: pixels that a side must have at least, where a smaller JPEG than it is will do.

    Raises:
        Exception: of many kinds, as Pillow's decoders do.
    """
    data = image.read_bytes()
    if data[4:8] == b"ftyp" and data[8:12] in HEIC_BRANDS:
        import pillow_heif

        heic: Picture = pillow_heif.open_heif(BytesIO(data)).to_pillow()
        heic.format = "HEIF"
        return heic
    opened = open_picture_file(BytesIO(data))
    if draft is not None:
        opened.draft("RGB", (draft, draft))
    opened.load()
    return opened


def _on_screen(picture: "Picture", profile: bytes | None) -> "Picture":
    """Return a CMYK picture in sRGB, by its colour profile where that is there and whole."""
    from PIL import ImageCms

    if profile:
        try:
            turned = ImageCms.profileToProfile(
                picture,
                ImageCms.ImageCmsProfile(BytesIO(profile)),
                ImageCms.createProfile("sRGB"),
                outputMode="RGB",
            )
        except (ImageCms.PyCMSError, OSError):
            turned = None
        if turned is not None:
            return turned
    return picture.convert("RGB")


def _on_white(picture: "Picture") -> "Picture":
    from PIL import Image

    if "transparency" in picture.info:
        picture = picture.convert("RGBA")
    if "A" not in picture.getbands():
        return picture
    white = Image.new("RGBA", picture.size, "white")
    return Image.alpha_composite(white, picture.convert("RGBA")).convert("RGB")
