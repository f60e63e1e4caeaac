"""Control images and layers: found, missing, odd, and part of what a cache is made of."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from musabi.dataset.buckets import buckets
from musabi.dataset.caches import item_identities
from musabi.dataset.config import read_config
from musabi.dataset.findings import scan_findings
from musabi.dataset.identity import Memory
from musabi.dataset.items import Scan, scan
from musabi.errors import RequestError
from musabi.recipes.recipe import DatasetRules

ONE, ANY = DatasetRules(control="one"), DatasetRules(control="any")
EACH = DatasetRules(control="each_index")
LAYERED = DatasetRules(multiple_target=True)


def draw(path: Path, size: tuple[int, int] = (64, 64), color: str = "navy") -> Path:
    path.parent.mkdir(exist_ok=True)
    Image.new("RGB", size, color).save(path)
    return path


def look(folder: Any, rules: DatasetRules, options: str = "") -> Scan:
    control = f'control_directory = "{folder.root}/control"\n' if rules.control != "none" else ""
    (folder.root / "control").mkdir(exist_ok=True)
    folder.toml.write_text(
        f'[[datasets]]\nimage_directory = "{folder.images}"\ncache_directory = "{folder.cache}"\n'
        f'caption_extension = ".txt"\nresolution = 64\nenable_bucket = true\n{control}{options}\n'
    )
    return scan(read_config(folder.toml, rules, "xx").datasets[0])


def errors(folder: Any, found: Scan) -> list[str]:
    config = read_config(folder.toml, found.dataset.rules, "xx")
    return [each.message for each in scan_findings(config, [found]) if each.level == "error"]


def test_one_control_image_belongs_to_each(folder: Any) -> None:
    folder.add("a.png", (64, 64))
    folder.add("b.png", (96, 48))
    first = draw(folder.root / "control" / "a.jpg", (80, 60))
    found = look(folder, ONE)
    assert found.items[0].controls == (first,)
    assert found.items[0].control_sizes == ((64, 64),)
    assert errors(folder, found) == [
        f"{folder.images}/b.png has no control image. Look into {folder.root}/control, or remove b.png."
    ]


def test_any_number_is_taken_in_order_and_none_is_an_error_in_a_folder(folder: Any) -> None:
    folder.add("a.png")
    files = [draw(folder.root / "control" / f"a{end}.png") for end in ("", "_1", "_10")]
    assert look(folder, ANY).items[0].controls == tuple(files)
    folder.add("b.png")
    assert [path.name for path, _ in look(folder, ANY).faults] == ["b.png"]


def test_a_frame_of_a_video_model_has_a_control_for_each_index(folder: Any) -> None:
    folder.add("a.png")
    draw(folder.root / "control" / "a_0.png")
    options = "fp_1f_clean_indices = [0, 10]\nfp_1f_target_index = 1"
    assert look(folder, EACH, options).faults == ((folder.images / "a.png", "has 1 of its 2 control images"),)
    draw(folder.root / "control" / "a_1.png")
    assert len(look(folder, EACH, options).items[0].controls) == 2
    draw(folder.root / "control" / "a_2.png")
    assert look(folder, EACH, options).faults == (
        (folder.images / "a.png", "has 3 control images where the model takes 2"),
    )


def test_odd_names_and_twins_among_control_images_are_errors(folder: Any) -> None:
    folder.add("a.png")
    draw(folder.root / "control" / "a_depth.png")
    assert (
        "a_depth.png begins like it but does not end in _ and a number"
        in errors(folder, look(folder, ONE))[0]
    )
    (folder.root / "control" / "a_depth.png").unlink()
    for name in ("a_1.png", "a_01.png"):
        draw(folder.root / "control" / name)
    assert "a_01.png and a_1.png have the same place" in errors(folder, look(folder, ANY))[0]


def test_control_images_that_cannot_be_read_or_fit_are_errors(folder: Any) -> None:
    folder.add("a.png")
    control = folder.root / "control" / "a.png"
    control.parent.mkdir()
    control.write_text("no image")
    assert errors(folder, look(folder, ONE))[0] == f"{control} is not an image. Replace it or remove it."
    draw(control, (15, 200))
    assert (
        "15x200 pixels is too small for a side of 16"
        in errors(folder, look(folder, ONE, "no_resize_control = true"))[0]
    )


def test_images_without_a_caption_need_no_control(folder: Any) -> None:
    folder.add("a.png")
    folder.add("bare.png", caption=None)
    draw(folder.root / "control" / "a.png")
    found = look(folder, ONE)
    assert (found.faults, [path.name for path in found.without_caption]) == ((), ["bare.png"])


def test_a_control_folder_within_the_images_is_no_news(folder: Any) -> None:
    folder.add("a.png")
    draw(folder.images / "control" / "a.png")
    text = f'control_directory = "{folder.images}/control"'
    folder.toml.write_text(
        f'[[datasets]]\nimage_directory = "{folder.images}"\ncache_directory = "{folder.cache}"\n'
        f'caption_extension = ".txt"\nenable_bucket = true\n{text}\n'
    )
    assert scan(read_config(folder.toml, ONE).datasets[0]).ignored == ()


def test_other_sizes_of_control_images_go_into_other_batches(folder: Any) -> None:
    for stem, size in (("a", (64, 64)), ("b", (64, 64)), ("c", (128, 64))):
        folder.add(f"{stem}.png")
        draw(folder.root / "control" / f"{stem}.png", size)
    whole, apart = (
        look(folder, ONE, "batch_size = 2"),
        look(folder, ONE, "batch_size = 2\nno_resize_control = true"),
    )
    assert [bucket.batches for bucket in buckets(whole.items, whole.dataset)] == [2]
    assert [bucket.batches for bucket in buckets(apart.items, apart.dataset)] == [2]
    draw(folder.root / "control" / "b.png", (64, 128))
    apart = look(folder, ONE, "batch_size = 2\nno_resize_control = true")
    assert [bucket.batches for bucket in buckets(apart.items, apart.dataset)] == [3]


def identities(folder: Any, rules: DatasetRules, options: str = "") -> list[str]:
    found = look(folder, rules, options)
    assert not found.faults + found.unreadable
    return [
        identity
        for kind in ("latents", "text")
        for identity in item_identities(kind, found, Memory()).values()
    ]


def test_what_control_images_are_and_become_is_part_of_both_caches(folder: Any) -> None:
    folder.add("a.png")
    control = draw(folder.root / "control" / "a.png", (128, 64))
    before = identities(folder, ANY)
    assert identities(folder, ANY) == before
    smaller = identities(folder, ANY, "control_resolution = 320")
    draw(control, (128, 64), "red")
    red = identities(folder, ANY)
    for changed in (smaller, red):
        assert all(old != new for old, new in zip(before, changed, strict=True))


def test_where_a_frame_lies_in_time_is_part_of_its_latents(folder: Any) -> None:
    folder.add("a.png")
    draw(folder.root / "control" / "a.png")
    seen = {
        identities(folder, EACH, f"fp_1f_clean_indices = [0]\nfp_1f_target_index = {index}")[0]
        for index in (1, 9)
    }
    assert len(seen) == 2


def test_layers_are_found_with_their_image_and_are_no_images_of_their_own(folder: Any) -> None:
    for name, caption in (("a.png", "x"), ("a_0.png", None), ("a_1.png", None), ("other.png", None)):
        folder.add(name, caption=caption)
    found = look(folder, LAYERED, "multiple_target = true")
    assert [layer.name for layer in found.items[0].layers] == ["a_0.png", "a_1.png"]
    assert [path.name for path in found.without_caption] == ["other.png"]
    before = identities(folder, LAYERED, "multiple_target = true")
    folder.add("a_1.png", caption=None, color="red")
    after = identities(folder, LAYERED, "multiple_target = true")
    assert (before[0] != after[0], before[1] == after[1]) == (True, True)
    folder.add("b.png")
    assert look(folder, LAYERED, "multiple_target = true").faults == (
        (folder.images / "b.png", "has no layers such as b_0.png"),
    )


def jsonl(folder: Any, rules: DatasetRules, *lines: dict[str, Any], options: str = "") -> Scan:
    path = folder.root / "list.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    folder.toml.write_text(
        f'[[datasets]]\nimage_jsonl_file = "{path}"\ncache_directory = "{folder.cache}"\n'
        f"resolution = 64\nenable_bucket = true\n{options}\n"
    )
    return scan(read_config(folder.toml, rules).datasets[0])


def test_a_jsonl_file_names_control_images_by_number(folder: Any) -> None:
    image = str(folder.add("a.png", caption=None))
    files = [str(draw(folder.root / "control" / f"{name}.png")) for name in "xyz"]
    line = {"image_path": image, "caption": "c", "control_path_2": files[2], "control_path_10": files[0]}
    found = jsonl(folder, ANY, {**line, "control_path": files[1]})
    assert [str(path) for path in found.items[0].controls] == [files[1], files[2], files[0]]
    assert jsonl(folder, ONE, {**line, "control_path": files[1]}).faults == (
        (Path(image), "has 3 control images where the model takes 1"),
    )
    assert jsonl(folder, ANY, {"image_path": image, "caption": "c"}).faults == ()
    assert jsonl(folder, ONE, {"image_path": image, "caption": "c"}).faults == (
        (Path(image), "has no control image"),
    )


def test_a_jsonl_file_names_layers_by_number(folder: Any) -> None:
    paths = {f"image_path_{n}": str(folder.add(f"{n}.png", caption=None)) for n in range(3)}
    found = jsonl(folder, LAYERED, {**paths, "caption": "c"}, options="multiple_target = true")
    assert (found.items[0].image.name, [path.name for path in found.items[0].layers]) == (
        "0.png",
        ["1.png", "2.png"],
    )


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"control_paths": "/b.png"}, "control_paths is no name. Write control_path or control_path_0"),
        ({"control_path_x": "/b.png"}, "control_path_x is no name"),
        ({"control_path": "/b.png", "control_path_0": "/c.png"}, "names a control image twice"),
        ({"control_path": "b.png"}, 'control_path must be an absolute path, not "b.png"'),
        ({"control_path": ""}, "control_path must be an absolute path"),
        ({"control_path": 3}, "has no control_path in quotes"),
        ({"image_path_1": "/b.png"}, "names image_path_1, and the model takes one image a line."),
    ],
)
def test_names_in_a_jsonl_file_that_the_trainer_misreads_are_refused(
    folder: Any, more: dict[str, Any], said: str
) -> None:
    with pytest.raises(RequestError) as caught:
        jsonl(folder, ANY, {"image_path": "/a.png", "caption": "c", **more})
    assert said in str(caught.value)
