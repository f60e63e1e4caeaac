"""The list of models: whether their files are here."""

from pathlib import Path

from musabi.recipes import load
from musabi.recipes.overview import Row, overview, overview_as_text


def row(models: Path, name: str) -> Row:
    return next(row for row in overview(models) if row.name == name)


def lay_out(models: Path, name: str, share: float) -> None:
    """Make sparse files of `share` of the size that the recipe names."""
    for weights in load(name).weights.values():
        for file in weights.files:
            path = models / weights.folder / Path(file).name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as opened:
                opened.truncate(int(weights.gigabytes * 1e9 * share / len(weights.files)))


def test_files_of_the_right_size_are_here(tmp_path: Path) -> None:
    assert row(tmp_path, "z-image").here == "no"
    lay_out(tmp_path, "z-image", 1)
    assert row(tmp_path, "z-image").here == "yes"
    assert row(tmp_path, "z-image-turbo").here == "part", "it shares VAE and text encoder"


def test_a_small_model_in_the_same_place_is_not_taken_for_it(tmp_path: Path) -> None:
    lay_out(tmp_path, "z-image", 0.001)
    assert row(tmp_path, "z-image").here == "no"


def test_the_table_names_a_licence_that_must_be_accepted(tmp_path: Path) -> None:
    text = overview_as_text(overview(tmp_path))
    (line,) = (line for line in text.splitlines() if line.startswith("flux2-dev "))
    assert "accepted on the hub" in line
