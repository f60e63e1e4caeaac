"""Checkpoints on a run's page: the table, downloads in both forms, grids."""

import os
import resource
from pathlib import Path
from typing import Any

import pytest

from musabi.watch.page.run_files import at_jupyter, files_part, grids_part, loss_near
from small.run_page import browser_at, fill, scene_at


@pytest.fixture
def full_world(world: Any) -> Any:
    """A run with samples and checkpoints."""
    return fill(world)


def ask(world: Any, stem: str, form: str = "native", **headers: str) -> Any:
    params = {"id": "run-1", "stem": stem, "form": form}
    return browser_at(world.root).client.get("/checkpoint", params=params, headers=headers)


def test_the_table_has_each_checkpoint_with_step_size_and_loss_near_it(full_world: Any) -> None:
    lines = [
        f'{{"phase":"train","step":{step},"loss":{0.5 if step <= 54 else 0.25}}}\n' for step in range(1, 271)
    ]
    full_world.run.events_file.write_text("".join(lines))
    html = files_part(scene_at(full_world.root), {"id": "run-1"})
    rows = html.split("<tr>")[2:]
    assert len(rows) == 5 and "Final" in rows[0] and "form=comfyui" in rows[0]
    assert "Epoch 2" in rows[4] and ">54<" in rows[4] and ">0.5000<" in rows[4] and "3.0 kB" in rows[4]
    assert 'data-verb="run-convert"' in rows[4] and ">0.2500<" in rows[3]


def test_the_loss_near_a_step_is_the_mean_of_the_epoch_before_it() -> None:
    losses = [(float(step), float(step)) for step in range(1, 101)]
    assert loss_near(losses, 60, 30) == pytest.approx(45.5)
    assert loss_near(losses, 60, 5) == pytest.approx(50.5)
    assert loss_near([(10.0, float("nan"))], 10, 5) is None and loss_near(losses, None, 5) is None


def test_both_forms_are_downloaded_under_names_that_tell_them_apart(full_world: Any) -> None:
    (full_world.output / "comfyui" / "ohwx_v1.safetensors").write_bytes(b"converted")
    native, converted = ask(full_world, "ohwx_v1"), ask(full_world, "ohwx_v1", "comfyui")
    assert native.content == b"\0" * 3000 and converted.content == b"converted"
    assert 'attachment; filename="ohwx_v1.safetensors"' in native.headers["content-disposition"]
    assert 'filename="ohwx_v1_comfyui.safetensors"' in converted.headers["content-disposition"]


def test_a_download_that_broke_goes_on(full_world: Any) -> None:
    path = full_world.output / "ohwx_v1.safetensors"
    path.write_bytes(bytes(range(250)) * 12)
    answer = ask(full_world, "ohwx_v1", range="bytes=2990-")
    assert (answer.status_code, answer.content) == (206, path.read_bytes()[2990:])


def test_a_large_checkpoint_is_not_read_into_memory(full_world: Any) -> None:
    path = full_world.output / "ohwx_v1.safetensors"
    with path.open("wb") as file:
        file.truncate(300_000_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    answer = browser_at(full_world.root).client.head("/checkpoint", params={"id": "run-1", "stem": "ohwx_v1"})
    assert answer.headers["content-length"] == "300000000"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


@pytest.mark.parametrize("stem", ["", "ohwx_v1-000003", "../../etc/passwd", "comfyui/ohwx_v1"])
def test_what_is_no_checkpoint_of_the_run_is_not_there(full_world: Any, stem: str) -> None:
    assert ask(full_world, stem).status_code == 404


def test_a_checkpoint_that_leads_out_of_the_workspace_is_not_there(
    full_world: Any, tmp_path_factory: Any
) -> None:
    outside = tmp_path_factory.mktemp("elsewhere") / "secret"
    outside.write_text("secret")
    path = full_world.output / "ohwx_v1.safetensors"
    path.unlink()
    path.symlink_to(outside)
    assert ask(full_world, "ohwx_v1").status_code == 404


def test_a_checkpoint_that_was_deleted_leaves_the_table(full_world: Any) -> None:
    scene = scene_at(full_world.root)
    assert "ohwx_v1-000004" in files_part(scene, {"id": "run-1"})
    (full_world.output / "ohwx_v1-000004.safetensors").unlink()
    assert "ohwx_v1-000004" not in files_part(scene, {"id": "run-1"})


def test_grids_of_the_run_are_shown_and_no_other_file(full_world: Any) -> None:
    folder = full_world.output / "grid"
    full_world.add_sample("x.png")
    folder.mkdir()
    for name in ("ohwx_v1.png", "ohwx_v1-few.png", "other.png", "ohwx_v10.png", "ohwx_v1.txt"):
        os.link(full_world.output / "sample" / "x.png", folder / name)
    html = grids_part(scene_at(full_world.root), {"id": "run-1"})
    assert html.count("<li>") == 2 and "other.png" not in html and "ohwx_v10.png" not in html
    browser = browser_at(full_world.root)
    known = [
        browser.client.get("/grid", params={"id": "run-1", "name": name})
        for name in ("ohwx_v1.png", "other.png")
    ]
    assert [answer.status_code for answer in known] == [200, 404]


def test_behind_jupyterlab_its_own_file_server_hands_a_checkpoint_out() -> None:
    root, file = Path("/workspace"), "output/a b#1 é.safetensors"
    assert at_jupyter(root / file, root) == "../files/output/a%20b%231%20%C3%A9.safetensors"
    assert at_jupyter(root / ".hidden" / "a.safetensors", root) is None, "JupyterLab refuses a hidden file"
    assert at_jupyter(Path("/elsewhere/a.safetensors"), root) is None
    assert at_jupyter(root / "output" / ".." / ".." / "etc" / "passwd", root) is None
    assert at_jupyter(root / file, None) is None
