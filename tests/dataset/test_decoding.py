import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from musabi.dataset.decoding import difference_hash, look, look_at

SIZE = (640, 480)


def noise() -> Image.Image:
    return Image.fromarray(np.random.default_rng(1).integers(0, 255, (*SIZE[::-1], 3), dtype=np.uint8))


def fully(data: bytes) -> bool:
    """Tell whether Pillow decodes the picture at its full size, as the trainer does."""
    try:
        with Image.open(io.BytesIO(data)) as opened:
            opened.load()
    except Exception:
        return False
    return True


def encoded(form: str, **how: object) -> bytes:
    written = io.BytesIO()
    noise().save(written, form, **how)
    return written.getvalue()


FORMS = {
    "baseline.jpg": encoded("JPEG", quality=90),
    "progressive.jpg": encoded("JPEG", quality=90, progressive=True),
    "restarts.jpg": encoded("JPEG", quality=90, restart_marker_rows=1),
    "grey.png": encoded("PNG"),
    "lossy.webp": encoded("WEBP", quality=80),
    "plain.bmp": encoded("BMP"),
    "small.avif": encoded("AVIF", quality=60),
}


@pytest.mark.parametrize("name", FORMS)
def test_a_file_cut_off_anywhere_is_found_wherever_a_full_decode_finds_it(tmp_path: Path, name: str) -> None:
    data, file = FORMS[name], tmp_path / name
    ends = [2, 3, 10, 50, 300, 1500, *(len(data) * share // 12 for share in range(1, 12))]
    for end in ends:
        file.write_bytes(data[:-end])
        assert bool(look(file).reason) == (not fully(data[:-end])), f"{end} bytes missing"
    assert look(file).reason
    file.write_bytes(data)
    assert look(file).reason == ""


@pytest.mark.parametrize("name", ["baseline.jpg", "progressive.jpg", "restarts.jpg"])
def test_a_damaged_jpeg_is_judged_as_a_full_decode_judges_it(tmp_path: Path, name: str) -> None:
    rng = np.random.default_rng(2)
    file = tmp_path / name
    for _ in range(25):
        damaged = np.frombuffer(FORMS[name], dtype=np.uint8).copy()
        damaged[rng.integers(0, len(damaged), 20)] = rng.integers(0, 256, 20)
        file.write_bytes(damaged.tobytes())
        assert bool(look(file).reason) == (not fully(damaged.tobytes()))


@pytest.mark.parametrize("name", ["baseline.jpg", "progressive.jpg", "restarts.jpg"])
def test_a_jpeg_whose_end_was_never_copied_is_found_although_it_decodes(tmp_path: Path, name: str) -> None:
    whole, file = FORMS[name], tmp_path / name
    file.write_bytes(whole[: len(whole) // 2].ljust(len(whole), b"\0"))
    assert look(file).reason
    file.write_bytes(whole + bytes(4000))
    assert look(file).reason == ""


def test_all_images_come_back_in_order_with_what_was_found(tmp_path: Path) -> None:
    files = []
    for number in range(30):
        files.append(tmp_path / f"{number:02d}.png")
        Image.new("RGB", (8, 8), (number, 0, 0)).save(files[-1])
    files[7].write_bytes(b"broken")
    found = list(look_at(files))
    assert [path for path, _ in found] == files
    assert [path for path, looked in found if looked.reason] == [files[7]]


def test_the_rest_is_not_decoded_once_nobody_asks_for_more(tmp_path: Path) -> None:
    files = [tmp_path / f"{number}.png" for number in range(200)]
    for file in files:
        Image.new("RGB", (8, 8)).save(file)
    looks = look_at(path for path in files)
    next(looks)
    looks.close()
    for file in files[-50:]:
        file.unlink()  # would be read by now, or never is


def test_the_hash_stays_the_same_in_another_size_and_quality() -> None:
    small = np.random.default_rng(3).integers(0, 255, (7, 7, 3), dtype=np.uint8)
    picture = Image.fromarray(small).resize((800, 600), Image.Resampling.BICUBIC)
    written = io.BytesIO()
    picture.resize((500, 375)).save(written, "JPEG", quality=40)
    one, other = difference_hash(picture), difference_hash(Image.open(written))
    assert one is not None and other is not None
    assert (one ^ other).bit_count() <= 4
    mirrored = difference_hash(picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT))
    assert mirrored is not None and (one ^ mirrored).bit_count() > 16


def test_an_even_picture_has_no_hash() -> None:
    assert difference_hash(Image.new("RGB", (100, 100), "navy")) is None


def test_heic_is_refused_where_the_process_has_learnt_to_read_it(tmp_path: Path) -> None:
    import pillow_heif

    file = tmp_path / "sent.jpg"
    pillow_heif.from_pillow(noise()).save(file)
    taught = (  # in a process of its own, since it can't be unlearnt
        "import sys, pathlib, pillow_heif\nfrom PIL import Image\npillow_heif.register_heif_opener()\n"
        "file = pathlib.Path(sys.argv[1])\nassert Image.open(file).format == 'HEIF'\n"
        "from musabi.dataset.decoding import look\nprint(look(file).reason)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", taught, file], capture_output=True, text=True, timeout=60, check=True
    )
    assert ran.stdout == "is a HEIC picture under another name\n"
