"""All captions are changed together: seen before, and taken back as one."""

from pathlib import Path
from typing import Any

import pytest

from musabi.errors import RequestError
from musabi.watch.page import caption_changes
from musabi.watch.page.caption_changes import History, Plan, carry_out, change_of, plan, take_back
from musabi.watch.page.caption_files import Caption, put_bytes, read_caption


@pytest.fixture
def captions(tmp_path: Path) -> dict[str, Path]:
    texts = {"a": "ohwx, a red Dog", "b": "a dog and a DOG", "c": "a cat"}
    for name, text in texts.items():
        (tmp_path / f"{name}.txt").write_text(f"{text}\n")
    return {name: tmp_path / f"{name}.txt" for name in (*texts, "without")}


def planned(captions: dict[str, Path], **given: object) -> Plan:
    title, change = change_of(given)
    return plan(((name, file, read_caption(file)) for name, file in captions.items()), title, change)


def texts(captions: dict[str, Path]) -> list[str]:
    return [file.read_text() for file in captions.values() if file.exists()]


def test_text_is_replaced_in_any_case_or_as_it_is_spelled(captions: dict[str, Path]) -> None:
    rows = planned(captions, kind="replace", find="dog", by=r"\1 wolf").rows
    assert [(row.name, row.after) for row in rows] == [
        ("a", r"ohwx, a red \1 wolf"),
        ("b", r"a \1 wolf and a \1 wolf"),
    ]
    assert [row.name for row in planned(captions, kind="replace", find="Dog", by="x", case=True).rows] == [
        "a"
    ]
    assert [row.name for row in planned(captions, kind="replace", find=".", by="x").rows] == []


def test_a_plan_changes_nothing_until_it_is_carried_out(captions: dict[str, Path]) -> None:
    before = texts(captions)
    made = planned(captions, kind="replace", find="a", by="the")
    assert texts(captions) == before
    history = History()
    assert carry_out(made, history).changed == 3
    assert texts(captions) == ["ohwx, the red Dog\n", "the dog thend the DOG\n", "the cthet\n"]
    outcome = take_back(history.take_back(history.steps[-1].id), history)
    assert (outcome.changed, outcome.left) == (3, ())
    assert texts(captions) == before
    assert history.newest() is None


def test_the_trigger_word_comes_where_it_lacks_and_goes_everywhere(captions: dict[str, Path]) -> None:
    history = History()
    assert carry_out(planned(captions, kind="add_trigger", word=" ohwx, "), history).changed == 2
    assert texts(captions) == ["ohwx, a red Dog\n", "ohwx, a dog and a DOG\n", "ohwx, a cat\n"]
    assert planned(captions, kind="add_trigger", word="ohwx").rows == ()
    assert carry_out(planned(captions, kind="remove_trigger", word="ohwx"), history).changed == 3
    assert texts(captions) == ["a red Dog\n", "a dog and a DOG\n", "a cat\n"]
    assert not captions["without"].exists()


def test_a_caption_that_has_the_word_further_on_is_left(captions: dict[str, Path]) -> None:
    captions["c"].write_text("a photo of ohwx\n")
    assert [row.name for row in planned(captions, kind="add_trigger", word="ohwx").rows] == ["b"]


def test_what_changed_meanwhile_is_left_alone_and_named(captions: dict[str, Path]) -> None:
    history = History()
    made = planned(captions, kind="add_trigger", word="sks")
    captions["b"].write_text("by somebody else\n")
    captions["c"].unlink()
    outcome = carry_out(made, history)
    assert (outcome.changed, outcome.left) == (1, ("b", "c"))
    assert texts(captions) == ["sks, ohwx, a red Dog\n", "by somebody else\n"]
    captions["a"].write_text("edited after it\n")
    assert take_back(history.take_back(history.steps[-1].id), history).left == ("a",)
    assert captions["a"].read_text() == "edited after it\n"


def test_undo_brings_back_every_byte_and_a_file_that_was_not_there(captions: dict[str, Path]) -> None:
    captions["a"].write_bytes("Zoë\r\n".encode("cp1252"))
    history = History()
    carry_out(planned(captions, kind="add_trigger", word="sks"), history)
    assert captions["a"].read_bytes() == "sks, Zoë\n".encode()
    take_back(history.take_back(history.steps[-1].id), history)
    assert captions["a"].read_bytes() == "Zoë\r\n".encode("cp1252")


def test_only_the_newest_step_is_taken_back(captions: dict[str, Path]) -> None:
    history = History()
    carry_out(planned(captions, kind="add_trigger", word="sks"), history)
    first = history.steps[-1].id
    carry_out(planned(captions, kind="replace", find="cat", by="cow"), history)
    with pytest.raises(RequestError, match='replace "cat" by "cow"'):
        history.take_back(first)
    assert len(history.steps) == 2


def test_a_plan_is_carried_out_once(captions: dict[str, Path]) -> None:
    history = History()
    made = history.show(planned(captions, kind="replace", find="cat", by="cow"))
    assert history.take(made.id) == made
    with pytest.raises(RequestError, match="Preview it again"):
        history.take(made.id)


def test_two_pictures_with_one_caption_file_are_one_change(captions: dict[str, Path]) -> None:
    captions["c again"] = captions["c"]
    history = History()
    outcome = carry_out(planned(captions, kind="replace", find="cat", by="cat, cat"), history)
    assert (outcome.changed, outcome.left) == (1, ())
    assert captions["c"].read_text() == "a cat, cat\n"


def test_the_history_forgets_the_oldest_first(
    captions: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caption_changes, "MOST_KEPT_BYTES", 10)
    history = History()
    for find, by in (("cat", "cow"), ("cow", "hen"), ("hen", "bee")):
        carry_out(planned(captions, kind="replace", find=find, by=by), history)
    assert len(history.steps) == 1
    assert history.newest() == {"id": history.steps[0].id, "title": 'replace "hen" by "bee"'}


@pytest.mark.parametrize(
    "given",
    [
        {"kind": "burn"},
        {"kind": "replace", "find": "", "by": "x"},
        {"kind": "add_trigger", "word": " , "},
        {"kind": "remove_trigger"},
        {"kind": "replace", "find": "x" * 3_000},
    ],
)
def test_what_is_no_change_is_refused(given: dict[str, object]) -> None:
    with pytest.raises(RequestError):
        change_of(given)


def test_a_file_that_is_no_caption_is_passed_over(tmp_path: Path) -> None:
    odd = [("x", tmp_path / "x.txt", Caption(hash="1", problem="too long"))]
    assert plan(odd, "t", lambda text: text + "!").rows == ()


def test_an_undo_that_the_disk_breaks_off_can_be_gone_on_with(
    captions: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = texts(captions)
    history = History()
    carry_out(planned(captions, kind="add_trigger", word="zzz"), history)
    calls = iter((False, True))

    def breaking(*given: Any, **named: Any) -> Any:
        if next(calls, False):
            raise OSError(28, "No space left on device")
        return put_bytes(*given, **named)

    monkeypatch.setattr(caption_changes, "put_bytes", breaking)
    with pytest.raises(OSError, match="No space"):
        take_back(history.take_back(history.steps[-1].id), history)
    assert texts(captions) != before
    outcome = take_back(history.take_back(history.steps[-1].id), history)
    assert (outcome.left, texts(captions)) == ((), before)
    assert history.steps == []


def test_a_change_that_makes_a_caption_too_long_is_refused_before_it_is_shown(
    captions: dict[str, Path],
) -> None:
    captions["c"].write_text("a" * 100)
    with pytest.raises(RequestError, match=r"c.txt would get too long"):
        planned(captions, kind="replace", find="a", by="b" * 2_000)
