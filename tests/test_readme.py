"""The README says what is true: its table of variables is the one that the code has."""

from pathlib import Path

from musabi.settings import table

README = Path(__file__).parents[1] / "README.md"
BEGIN = "<!-- settings table: made from musabi.settings, compared by tests/test_readme.py -->\n"
END = "<!-- end of settings table -->"


def expected_table() -> str:
    """Return the README's table of environment variables, pod first."""
    titles = {"pod": "Of the pod:", "job": "Of the job:"}
    parts = []
    for group, title in titles.items():
        parts += ["", title, "", "| Variable | Default | What it does |", "|---|---|---|"]
        parts += [
            f"| `{name}` | {default} | {why} |" for kind, name, default, why in table() if kind == group
        ]
    return "\n".join([*parts, "", ""])


def test_the_table_of_variables_is_the_one_that_the_code_has() -> None:
    text = README.read_text(encoding="utf-8")
    written = text.split(BEGIN)[1].split(END)[0]
    assert written == expected_table(), f"Put this between the marks in README.md:\n{expected_table()}"
