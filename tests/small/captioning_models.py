"""Captioning models of the real classes with random weights: two layers, 32 wide, a vocabulary of words."""

import json
from pathlib import Path
from typing import Any

WORDS = tuple(
    word
    for line in (
        "a the red blue green small round old man woman robot dog house tree sky light stands looks near",
        "under with and walks holds in of warm cold bright dark left right photo drawing . ,",
    )
    for word in line.split()
)
QWEN_SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
LLAVA_SPECIAL = ("<|begin_of_text|>", "<|eot_id|>", "<image>")
# The forms of the real ones: JoyCaption's takes a string and places the picture itself; Qwen's takes parts.
LLAVA_TEMPLATE = (
    "<|begin_of_text|>{% for message in messages %}{{ message.role }} : "
    "{% if message.role == 'user' %}<image>{% endif %}{{ message.content }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}assistant : {% endif %}"
)
QWEN_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% if message.content is string %}{{ message.content }}{% else %}{% for part in message.content %}"
    "{% if part.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif part.type == 'video' %}<|vision_start|><|video_pad|><|vision_end|>"
    "{% else %}{{ part.text }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
HEAD = 16
ROPE = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 10000.0}
TEXT = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": HEAD,
    "max_position_embeddings": 4096,
    "initializer_range": 0.5,
    "tie_word_embeddings": False,
}


def make_llava(folder: Path, **more: Any) -> Path:
    """Write a model of JoyCaption's classes: SigLIP and Llama under LLaVA. `more` are fields of its LlavaConfig."""
    from transformers import LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor, SiglipImageProcessor

    tokenizer = _tokenizer(LLAVA_SPECIAL, bos="<|begin_of_text|>", eos="<|eot_id|>")
    vision = {
        "model_type": "siglip_vision_model",
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 28,
        "patch_size": 14,
        "vision_use_head": False,
    }
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    config = LlavaConfig(
        vision_config=vision,
        text_config={"model_type": "llama", **TEXT, **ids, "vocab_size": len(tokenizer), "pad_token_id": 0},
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=4,
        vision_feature_select_strategy="full",
        vision_feature_layer=-1,
        **more,
    )
    pictures = SiglipImageProcessor(size={"height": 28, "width": 28})
    processor = LlavaProcessor(
        image_processor=pictures,
        tokenizer=tokenizer,
        patch_size=14,
        vision_feature_select_strategy="full",
        chat_template=LLAVA_TEMPLATE,
        num_additional_image_tokens=0,
    )
    processor.save_pretrained(folder)
    return _save(LlavaForConditionalGeneration, config, folder, ids["eos_token_id"])


def make_qwen25(folder: Path) -> Path:
    """Write a model of Qwen2.5-VL's classes."""
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    tokenizer = _qwen_parts(folder, patch=14)
    vision = {
        "depth": 2,
        "hidden_size": 32,
        "num_heads": 2,
        "intermediate_size": 64,
        "out_hidden_size": 32,
        "patch_size": 14,
        "window_size": 112,
        "fullatt_block_indexes": [1],
    }
    config = Qwen2_5_VLConfig(
        vision_config=vision, text_config=_qwen_text(tokenizer, ROPE), **_qwen_ids(tokenizer)
    )
    return _save(Qwen2_5_VLForConditionalGeneration, config, folder, tokenizer.eos_token_id)


def make_qwen3(folder: Path) -> Path:
    """Write a model of Qwen3-VL's classes."""
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

    tokenizer = _qwen_parts(folder, patch=16)
    vision = {
        "depth": 2,
        "hidden_size": 32,
        "num_heads": 2,
        "intermediate_size": 64,
        "out_hidden_size": 32,
        "patch_size": 16,
        "num_position_embeddings": 16,
        "deepstack_visual_indexes": [0],
    }
    text = _qwen_text(tokenizer, ROPE | {"mrope_interleaved": True})
    config = Qwen3VLConfig(vision_config=vision, text_config=text, **_qwen_ids(tokenizer))
    return _save(Qwen3VLForConditionalGeneration, config, folder, tokenizer.eos_token_id)


def _qwen_text(tokenizer: Any, rope: dict[str, Any]) -> dict[str, Any]:
    # transformers 4 reads rope_scaling, transformers 5 rope_parameters.
    both = {"rope_scaling": dict(rope), "rope_parameters": dict(rope)}
    return {**TEXT, **both, "vocab_size": len(tokenizer), "eos_token_id": tokenizer.eos_token_id}


def _qwen_ids(tokenizer: Any) -> dict[str, int]:
    names = {
        "image_token_id": "<|image_pad|>",
        "video_token_id": "<|video_pad|>",
        "vision_start_token_id": "<|vision_start|>",
        "vision_end_token_id": "<|vision_end|>",
    }
    return {name: tokenizer.convert_tokens_to_ids(token) for name, token in names.items()}


def _qwen_parts(folder: Path, patch: int) -> Any:
    """Write the tokenizer, the image processor and, as the real repos do, the template in a file of its own."""
    from transformers import Qwen2VLImageProcessor

    tokenizer = _tokenizer(QWEN_SPECIAL, bos=None, eos="<|im_end|>")
    tokenizer.save_pretrained(folder)
    edges = {"shortest_edge": 4 * (2 * patch) ** 2, "longest_edge": 10**7}
    Qwen2VLImageProcessor(size=edges, patch_size=patch).save_pretrained(folder)
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": QWEN_TEMPLATE}))
    return tokenizer


def _tokenizer(special: tuple[str, ...], bos: str | None, eos: str) -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: number for number, word in enumerate(("<unk>", *WORDS, *special))}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    if bos:  # as Llama 3's: every text gets the first token, also one that has it
        made.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(bos, vocabulary[bos])]
        )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=made,
        unk_token="<unk>",
        bos_token=bos,
        eos_token=eos,
        additional_special_tokens=[token for token in special if token not in (bos, eos)],
    )
    if "<image>" in special:
        tokenizer.image_token = "<image>"
    return tokenizer


def _save(kind: Any, config: Any, folder: Path, eos: int) -> Path:
    import torch

    torch.manual_seed(7)
    model = kind(config)
    with torch.no_grad():  # <unk> comes first, the special tokens last: without them every caption has words
        rows = model.get_output_embeddings().weight
        rows[0] = rows[1 + len(WORDS) :] = 0
    model.generation_config.eos_token_id = eos
    model.generation_config.pad_token_id = eos
    model.save_pretrained(folder)
    return folder
