from pathlib import Path

import pytest

from musabi.dataset.asked import Asked
from musabi.dataset.captions import Captioned, caption_findings
from musabi.dataset.encodings import read_text
from musabi.dataset.tokens import counter, estimate
from musabi.recipes.recipe import DatasetRules

FOLDER = Path("/data/images")


def said(*texts: str, rules: DatasetRules | None = None, **asked: object) -> list[str]:
    captions = [Captioned(text, FOLDER / f"{number}.txt") for number, text in enumerate(texts)]
    found = caption_findings(FOLDER, captions, rules or DatasetRules(), Asked(**asked))  # type: ignore[arg-type]
    return [one.message for one in found]


def test_captions_without_the_trigger_word_are_named_and_other_spellings_apart() -> None:
    found = said("a photo of ohwx.", "OHWX here", "ohwxx there", "nothing", trigger_word="ohwx")
    assert len(found) == 2
    assert found[0].startswith(f'2 captions in {FOLDER} without the trigger word "ohwx": 2.txt, 3.txt.')
    assert found[1].startswith(
        f'1 caption in {FOLDER} with another spelling of the trigger word "ohwx": 1.txt.'
    )
    assert said("a (ohwx) b", trigger_word=" ohwx ") == []
    assert said("nothing", trigger_word=None) == said("nothing", trigger_word=" ") == []


def test_a_trigger_of_several_words_or_marks_is_taken_as_it_is() -> None:
    assert said("portrait of ohwx man, smiling", trigger_word="ohwx man") == []
    assert len(said("portrait of ohwxxman", trigger_word="ohwx.man")) == 1


def test_captions_that_the_text_encoder_cuts_off_are_named() -> None:
    rules = DatasetRules(caption_tokens=20)
    found = said("short", "word " * 30, rules=rules)
    assert len(found) == 1
    assert "1.txt" in found[0] and "more than 20 tokens, by an estimate" in found[0]
    assert said("word " * 30) == []


def test_what_should_be_json_and_is_not_is_named() -> None:
    rules = DatasetRules(caption_is_json=True)
    found = said('{"subject": "x"}', "plain words", '["list"]', rules=rules)
    assert len(found) == 1
    assert "1.txt, 2.txt" in found[0]


def test_images_that_share_a_caption_are_a_note_unless_all_do() -> None:
    assert "2 images" in said("a", "a", "b")[0]
    assert said("a", "a") == []
    assert said("a", "b") == []


def test_letters_that_were_lost_are_named() -> None:
    assert "where a letter was lost" in said("caf\ufffd", "b")[0]
    assert "control characters" in said("a\x00b", "b")[0]


TEXTS = {
    "UTF-8": ("ohwx in a café, 日本", "utf-8"),
    "UTF-8 with a byte-order mark": ("ohwx woman", "utf-8-sig"),
    "UTF-16": ("ohwx woman é", "utf-16"),
    "UTF-32": ("ohwx woman", "utf-32"),
    "Windows-1252": ("très grand, élégant “ohwx”", "cp1252"),
    "Windows-1251": ("фотография женщины в парке, ohwx", "cp1251"),
    "Shift JIS": ("ohwx 公園にいる女性の写真", "cp932"),
    "GB 18030": ("ohwx 一个女人在公园里的照片", "gb18030"),
    "EUC-KR": ("ohwx 공원에 있는 여자의 사진", "euc_kr"),
}


@pytest.mark.parametrize("name", TEXTS)
def test_the_encoding_of_a_caption_is_guessed(name: str) -> None:
    text, codec = TEXTS[name]
    assert read_text(text.encode(codec)) == (text, name)


def test_any_bytes_give_some_text() -> None:
    for number in range(256):
        assert isinstance(read_text(bytes([number, 255 - number, 0x81]))[0], str)
    assert read_text(b"") == ("", "UTF-8")
    assert read_text("plain ohwx".encode("utf-16-le")) == ("plain ohwx", "UTF-16")


def test_the_estimate_is_near_the_count_of_a_real_tokenizer(tmp_path: Path) -> None:
    assert estimate("") == 0
    assert 9 <= estimate("A photo of ohwx woman, standing in a park.") <= 14
    assert estimate("公園にいる女性") == 7


def test_the_models_own_tokenizer_counts_where_it_is_there(tmp_path: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    trained = tokenizers.ByteLevelBPETokenizer()
    trained.train_from_iterator(["a photo of a woman in a park"] * 20, vocab_size=400, min_frequency=2)
    trained.save_model(str(tmp_path))
    counting = counter(tmp_path)
    assert counting.exact
    assert counting.count("a photo of a woman") == 5
    assert counter(tmp_path / "gone").exact is False
    (tmp_path / "vocab.json").write_text("broken")
    assert counter(tmp_path).exact is False
