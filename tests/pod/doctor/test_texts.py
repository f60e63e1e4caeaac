"""Every finding is two plain sentences, consequence first, and names its mend; the page in docs has them all."""

import ast
import re
import string
from pathlib import Path

import pytest

from musabi.pod.doctor.texts import RENEW, TEXTS, Text

ROOT = Path(__file__).parents[3]
SOURCES = [*(ROOT / "src/musabi/pod/doctor").glob("*.py"), ROOT / "src/musabi/pod/report.py"]
PAGE = ROOT / "docs" / "doctor.md"
BEGIN = "<!-- findings: made from musabi.pod.doctor.texts, compared by tests/pod/doctor/test_texts.py -->\n"
END = "<!-- end of findings -->"
# A full stop, not one within a name such as musabi bootstrap.
SENTENCE_END = re.compile(r"[.!?](?=\s|$)")


@pytest.mark.parametrize("name", TEXTS)
def test_a_finding_is_two_sentences_at_most(name: str) -> None:
    row = TEXTS[name]
    assert row.state in ("note", "blocks", "unknown")
    assert row.consequence and not SENTENCE_END.search(row.consequence)
    assert row.what and not SENTENCE_END.search(row.what)
    assert len(SENTENCE_END.findall(row.mend)) == 1 and row.mend.endswith(".")
    assert row.consequence[0].isupper() or row.consequence.startswith(("musubi", "torch", "{"))
    assert len(row.consequence + row.what) < 240


def names_used() -> set[str]:
    """Return every text constant of the doctor's sources that has the form of a finding's name."""
    found = set()
    for path in SOURCES:
        if path.name == "texts.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
    return found


def test_every_row_is_used_and_every_name_that_is_used_has_a_row() -> None:
    used = names_used()
    assert set(TEXTS) - used == set()
    calls = {
        node.args[0].value
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "finding"
        and isinstance(node.args[0], ast.Constant)
    }
    assert len(calls) > 40 and calls - set(TEXTS) == set()


def shown(text: str) -> str:
    """Return a row's text for a reader: what is filled in stands in italics."""
    text = text.replace("{renew}", RENEW["musubi"])
    parts = []
    for literal, field, _, _ in string.Formatter().parse(text):
        parts.append(literal.replace("|", "\\|") + (f"*{field}*" if field else ""))
    return "".join(parts)


def expected_table() -> str:
    rows = ["", "| Finding | State | What it says | Why | What to do |", "|---|---|---|---|---|"]
    for name, row in TEXTS.items():
        rows.append(line(name, row))
    return "\n".join([*rows, "", ""])


def line(name: str, row: Text) -> str:
    return f"| `{name}` | {row.state} | {shown(row.consequence)} | {shown(row.what)} | {shown(row.mend)} |"


def test_the_page_has_every_finding() -> None:
    written = PAGE.read_text(encoding="utf-8").split(BEGIN)[1].split(END)[0]
    assert written == expected_table(), f"Put this between the marks in docs/doctor.md:\n{expected_table()}"
