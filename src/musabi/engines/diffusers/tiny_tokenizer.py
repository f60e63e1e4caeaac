"""A byte-level BPE tokenizer over a small vocabulary, in the files that Z-Image's tokenizer comes in."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from musabi.engines.diffusers.arch import TOKENIZER_REPO
from musabi.whole import write_json, write_text

VOCABULARY = 512
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")

# Qwen's chat form without its tool and thinking branches, which Z-Image never takes.
CHAT_TEMPLATE = (
    "{%- for message in messages %}"
    "{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)

HUB_FOLDER = "models--" + TOKENIZER_REPO.replace("/", "--")

FILES = ("vocab.json", "merges.txt", "tokenizer_config.json")


def write_tokenizer(folder: Path, texts: Iterable[str]) -> None:
    """Write a tokenizer whose merges were learnt from `texts`: 256 bytes, merges, three special tokens.

    The special tokens follow the others without a gap, as in Qwen's vocabulary: transformers 4 takes their
    numbers from the file, transformers 5 counts on from the others.
    """
    import json

    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]
    special = {str(len(model["vocab"]) + i): token for i, token in enumerate(SPECIAL)}
    write_json(folder / "vocab.json", model["vocab"])
    write_text(folder / "merges.txt", "#version: 0.2\n" + "\n".join(merges) + "\n")
    write_json(
        folder / "tokenizer_config.json",
        {
            "added_tokens_decoder": {number: _added(token) for number, token in special.items()},
            "additional_special_tokens": list(SPECIAL[1:]),
            "bos_token": None,
            "chat_template": CHAT_TEMPLATE,
            "clean_up_tokenization_spaces": False,
            "eos_token": "<|im_end|>",
            "errors": "replace",
            "model_max_length": 131072,
            "pad_token": "<|endoftext|>",
            "split_special_tokens": False,
            "tokenizer_class": "Qwen2Tokenizer",
            "unk_token": None,
        },
    )


def _added(token: str) -> dict[str, object]:
    sides = dict.fromkeys(("lstrip", "normalized", "rstrip", "single_word"), False)
    return {"content": token, "special": True, **sides}


def place_in_hub_cache(folder: Path, hub: Path) -> Path:
    """Copy the tokenizer of `folder` into the hub cache `hub` (HF_HOME/hub) as Z-Image's own; return its place.

    musubi-tuner looks for it there and nowhere else. The revision is the hash of the files.
    """
    texts = {name: (folder / name).read_text(encoding="utf-8") for name in FILES}
    revision = hashlib.sha1("".join(texts.values()).encode(), usedforsecurity=False).hexdigest()
    repo = hub / HUB_FOLDER
    target = repo / "snapshots" / revision / "tokenizer"
    for name, text in texts.items():
        write_text(target / name, text)
    write_text(repo / "refs" / "main", revision)
    return target
