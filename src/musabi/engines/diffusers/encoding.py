"""Captions to embeddings, as Z-Image wants them: Qwen's chat form, the last layer but one."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

MAX_TOKENS = 512


def encode(tokenizer: Any, encoder: Any, texts: Sequence[str]) -> list[Tensor]:  # noqa: ANN401
    """Return one embedding a text: [tokens, dim], in the encoder's dtype, without padding.

    The reference pads every text to 512 tokens. Attention looks back only, so what stands behind a text
    changes nothing in it: here a batch is padded to its longest text, which is many times faster.
    """
    chats = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": text}],
            tokenize=False,
            add_generation_prompt=True,
            enable_thinking=True,
        )
        for text in texts
    ]
    tokens = tokenizer(chats, padding=True, max_length=MAX_TOKENS, truncation=True, return_tensors="pt")
    mask = tokens.attention_mask.to(encoder.device)
    with torch.no_grad():
        states = encoder(
            input_ids=tokens.input_ids.to(encoder.device),
            attention_mask=mask,
            output_hidden_states=True,
            use_cache=False,
        ).hidden_states[-2]
    return [state[: int(row.sum())] for state, row in zip(states, mask, strict=True)]
