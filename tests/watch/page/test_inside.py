"""Names from a browser are files inside a folder or nothing."""

from pathlib import Path

import pytest

from musabi.errors import RequestError
from musabi.watch.page.inside import inside


@pytest.mark.parametrize(
    "name", ["a.png", "below/a.png", "./a.png", "no such.png", "\u00e4\U0001f600.png", "a" * 200]
)
def test_a_name_inside_is_the_file_there(tmp_path: Path, name: str) -> None:
    (tmp_path / "below").mkdir()
    assert inside(tmp_path, name) == tmp_path / name


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../a", "below/../../a", "/etc/passwd", "//etc/passwd", "a\0.png", ".hidden", "below/.git/x",
     "./../a", "a/../.."],
)  # fmt: skip
def test_a_name_that_leads_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(RequestError):
        inside(tmp_path, name)


def test_a_link_out_of_the_folder_is_refused_and_one_inside_is_followed(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "real").mkdir(parents=True)
    (tmp_path / "secret").write_text("s")
    (root / "out").symlink_to(tmp_path)
    (root / "file").symlink_to(tmp_path / "secret")
    (root / "in").symlink_to(root / "real")
    for name in ("out", "out/secret", "file"):
        with pytest.raises(RequestError):
            inside(root, name)
    assert inside(root, "in/a.png") == root / "in" / "a.png"


def test_a_workspace_that_is_a_link_itself_is_a_workspace(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "named").symlink_to(tmp_path / "real")
    assert inside(tmp_path / "named", "a.png") == tmp_path / "named" / "a.png"


def test_a_refusal_does_not_repeat_a_long_name(tmp_path: Path) -> None:
    with pytest.raises(RequestError) as refused:
        inside(tmp_path, "/" + "x" * 5000)
    assert len(str(refused.value)) < 150


@pytest.mark.parametrize("name", ["x" * 300 + ".png", "x" * 5000, "b\ud800.png", "loop/a.png"], ids=ascii)
def test_a_name_that_no_file_can_have_is_refused_in_words(tmp_path: Path, name: str) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(RequestError, match="can't be looked up"):
        inside(tmp_path, name)
