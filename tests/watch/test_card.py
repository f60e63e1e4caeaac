"""The model card: what the hub reads of it, and that nobody's text becomes markup."""

import re
from typing import Any

import pytest
import yaml

from musabi.watch.captions import common_beginning
from musabi.watch.card import Card, CardFile, card_text, escaped

FILES = (
    CardFile("x.safetensors", 3000, "Final", False),
    CardFile("comfyui/x.safetensors", 3000, "Final", True),
)
EVIL = '"\n---\nlicense: evil\n<script>alert(1)</script> | [x](http://evil) @me `x` ```\n# h \x1b[31m \u2028\ud83d'


def card(**more: Any) -> Card:
    values: dict[str, Any] = {"name": "x", "model": "Z-Image", "headline": "Trained.", "files": FILES}
    return Card(**values | more)


def front(text: str) -> dict[str, Any]:
    """Return the front matter as the hub reads it."""
    assert text.startswith("---\n")
    values: dict[str, Any] = yaml.safe_load(text.split("\n---\n")[0].removeprefix("---\n"))
    return values


def test_the_hub_finds_what_it_shows() -> None:
    values = front(
        card_text(
            card(
                base_model="Tongyi-MAI/Z-Image", licence="apache-2.0", trigger="ohwx woman",
                samples=(("samples/a b.png", "ohwx woman, rain"), ("samples/c.png", None)),
            )
        )
    )  # fmt: skip
    assert values["base_model"] == "Tongyi-MAI/Z-Image" and values["license"] == "apache-2.0"
    assert values["instance_prompt"] == "ohwx woman" and {"lora", "z-image"} <= set(values["tags"])
    assert values["widget"] == [
        {"text": "ohwx woman, rain", "output": {"url": "samples/a%20b.png"}},
        {"text": "ohwx woman", "output": {"url": "samples/c.png"}},
    ]


def test_what_is_unknown_is_left_out() -> None:
    text = card_text(card())
    assert not {"base_model", "license", "instance_prompt", "widget"} & set(front(text))
    assert (
        "Trigger" not in text and "Samples" not in text and "Licence" not in text and "diffusers:" not in text
    )


@pytest.mark.parametrize("field", ["trigger", "name", "headline", "remark", "licence", "model", "base_model"])
def test_hostile_text_stays_text(field: str) -> None:
    text = card_text(card(**{field: EVIL}))
    values = front(text)
    assert values.get("license") != "evil"
    page = re.sub(r"```python\n.*?\n```\n", "", text.partition("\n---\n")[2], flags=re.DOTALL)
    assert "<script>" not in page and "\n# h" not in page
    assert "\x1b" not in text and "\u2028" not in text and "\ud83d" not in text
    text.encode("utf-8")


def test_hostile_prompts_and_settings_stay_in_their_cells() -> None:
    text = card_text(
        card(samples=(("samples/a.png", EVIL),), settings=((EVIL, EVIL),), versions=((EVIL, EVIL),))
    )
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert all(line.replace("\\|", "").count("|") in (3, 5) for line in rows)
    assert front(text)["widget"][0]["text"].startswith('" --- license: evil <script>')
    assert "\n# h" not in text


def test_escaped_text_shows_itself() -> None:
    assert escaped("a_b*c|d\n<e>") == r"a\_b\*c\|d &lt;e&gt;"


def test_the_file_to_take_is_the_converted_one_and_the_code_is_python() -> None:
    text = card_text(card(repo="me/x", base_model="a/b", samples=(("s.png", 'it\'s "one"\n```\nx'),)))
    code = text.partition("```python\n")[2].partition("\n```")[0]
    compile(code, "card", "exec")
    assert "load_lora_weights('me/x', weight_name='x.safetensors', subfolder='comfyui')" in code


@pytest.mark.parametrize(
    ("captions", "trigger"),
    [
        (["ohwx woman, a", "ohwx woman, b"], "ohwx woman"),
        (["ohwx woman smiling", "ohwx woman, b"], "ohwx woman"),
        (["ohwx, x", "ohwx"], "ohwx"),
        (["a photo of ohwx man", "a photo of ohwx man, rain"], "a photo of ohwx man"),
        (["a photo of x", "a photo of y"], None),
        (["one caption alone"], None),
        (["same", "same"], None),
        (["a", "b"], None),
        (["", "x"], None),
        ([], None),
    ],
)
def test_the_trigger_word_is_what_all_captions_begin_with(captions: list[str], trigger: str | None) -> None:
    assert common_beginning(captions) == trigger
