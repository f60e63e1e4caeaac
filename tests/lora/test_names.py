"""Layers' names: the model's templates tell where the trainer's underscores were dots."""

import pytest

from musabi.lora.names import Names, native, skeleton

NAMES = Names(
    (
        "layers.#.attention.to_q",
        "layers.#.attention.to_k",
        "layers.#.attention.to_v",
        "a.#.b_#.c.0",
        "img_in.proj",
    )
)


@pytest.mark.parametrize(
    "name", ["layers.0.attention.to_q", "layers.29.attention.to_k", "a.3.b_14.c.0", "img_in.proj"]
)
def test_dots_come_back(name: str) -> None:
    underscored = native(name).removeprefix("lora_unet_")
    assert "." not in underscored
    assert NAMES.resolve(underscored, underscored=True) == (name,)
    assert NAMES.resolve(name, underscored=False) == (name,)


@pytest.mark.parametrize(
    "name",
    [
        "layers.0.attention_to_q",
        "layers.x.attention.to_q",
        "xlayers.0.attention.to_q",
        "layers.0.attention.to_qq",
    ],
)
def test_what_is_no_layer_of_the_model_is_none(name: str) -> None:
    assert NAMES.resolve(name, underscored=False) == ()
    assert name.count(".") < 3 or NAMES.resolve(native(name)[10:], underscored=True) == ()


def test_fused_layers_are_known_only_where_the_model_has_what_lies_in_them() -> None:
    whole = tuple(f"layers.7.attention.to_{part}" for part in "qkv")
    assert NAMES.resolve("layers.7.attention.qkv", underscored=False) == whole
    assert NAMES.resolve("layers_7_attention_qkv", underscored=True) == whole
    assert NAMES.resolve("layers.7.attention.out", underscored=False) == ()
    assert Names(("layers.#.attention.qkv",)).resolve("layers.7.attention.qkv", underscored=False) == (
        "layers.7.attention.qkv",
    )


def test_layers_of_one_name_are_grouped_by_their_first_number() -> None:
    assert skeleton("layers.3.ff.net.0") == "layers.#.ff.net.0"
    assert skeleton("blocks_12_mixer_2") == "blocks_#_mixer_2"
    assert skeleton("img_in.proj") == "img_in.proj"
