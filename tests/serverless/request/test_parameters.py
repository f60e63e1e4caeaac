"""Every documented parameter has a row, and the page that shows them is the table that the code has."""

from pathlib import Path

from musabi.engines.diffusion_pipe.keys import OPTIMIZERS as PIPE_OPTIMIZERS
from musabi.engines.diffusion_pipe.keys import TABLES
from musabi.serverless.request.fields import Training, documented
from musabi.serverless.request.optimizers import OPTIMIZERS
from musabi.serverless.request.parameters import PARAMETERS, markdown
from musabi.settings import Settings

PAGE = Path(__file__).parents[3] / "docs" / "endpoint_parameters.md"
MARK = (
    "<!-- made by musabi.serverless.request.parameters.markdown, compared by tests/serverless/request -->\n\n"
)


def test_every_documented_parameter_has_a_row_and_no_other() -> None:
    assert [one.name for one in PARAMETERS] == list(documented(Training))


def test_a_row_names_a_setting_and_a_key_that_exist() -> None:
    for one in PARAMETERS:
        assert not one.row or one.row in Settings.model_fields, one.name
        if one.place is not None:
            table, key = one.place
            assert key in TABLES[table], one.name
        assert one.row or one.musubi or "musubi" in one.idle, one.name
        assert one.place or one.pipe or "diffusion_pipe" in one.idle, one.name


def test_every_optimizer_for_diffusion_pipe_is_one_that_its_engine_takes() -> None:
    assert {one.pipe for one in OPTIMIZERS.values() if one.pipe} <= set(PIPE_OPTIMIZERS)
    assert not [name for name, one in OPTIMIZERS.items() if "." in name or "." in (one.flag or "")]


def test_the_page_shows_the_table_that_the_code_has() -> None:
    shown = PAGE.read_text(encoding="utf-8").split(MARK)[1]
    assert shown == markdown(), f"Put this behind the mark in {PAGE.name}:\n{markdown()}"
