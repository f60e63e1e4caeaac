"""The LoRA in the model (peft), and its tensors under musubi-tuner's names (v0.3.4, networks/lora_zimage.py)."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from musabi.errors import RequestError

# The main layers' attention and feed-forward; refiners and modulation stay as they are.
TARGETS = r"layers\.\d+\.(attention\.(to_q|to_k|to_v|to_out\.0)|feed_forward\.(w1|w2|w3))"
PREFIX = "lora_unet_"
ADAPTER = "default"

PRECISIONS = {
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
    "float": torch.float32,
    "fp32": torch.float32,
}


class Network:
    """A LoRA of one rank and alpha in a transformer: its parameters, trained in fp32."""

    def __init__(self, model: Any, rank: int, alpha: float, seed: int) -> None:  # noqa: ANN401
        """Add the LoRA to `model`; it changes nothing yet (down is drawn from `seed`, up is zero)."""
        from peft import LoraConfig

        self.rank = rank
        self.alpha = alpha
        model.add_adapter(LoraConfig(r=rank, lora_alpha=alpha, target_modules=TARGETS), adapter_name=ADAPTER)
        self.pairs = _pairs(model)
        generator = torch.Generator().manual_seed(seed)
        for down, up in self.pairs.values():
            start = torch.empty(down.shape)
            nn.init.kaiming_uniform_(start, a=math.sqrt(5), generator=generator)
            down.data = start.to(down.device)
            up.data = torch.zeros_like(up, dtype=torch.float32)

    def parameters(self) -> list[nn.Parameter]:
        """Return all trained parameters in the model's order."""
        return [parameter for pair in self.pairs.values() for parameter in pair]

    def tensors(self, dtype: torch.dtype) -> dict[str, Tensor]:
        """Return the LoRA on the CPU under musubi-tuner's keys, alphas included, all of `dtype`."""
        found: dict[str, Tensor] = {}
        for name, (down, up) in self.pairs.items():
            key = PREFIX + name.replace(".", "_")
            found[f"{key}.alpha"] = torch.tensor(self.alpha, dtype=dtype)
            found[f"{key}.lora_down.weight"] = down.detach().to("cpu", dtype, copy=True)
            found[f"{key}.lora_up.weight"] = up.detach().to("cpu", dtype, copy=True)
        return found

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take the values from tensors under musubi-tuner's keys.

        Raises:
            RequestError: they are of another rank or of another model.
        """
        for name, (down, up) in self.pairs.items():
            key = PREFIX + name.replace(".", "_")
            for parameter, part in ((down, "lora_down"), (up, "lora_up")):
                value = tensors.get(f"{key}.{part}.weight")
                if value is None or value.shape != parameter.shape:
                    raise RequestError(
                        f"The saved state doesn't fit: {key} has another size there. Resume with the NETWORK_DIM "
                        "and the model that it was trained with."
                    )
                parameter.data.copy_(value)


def _pairs(model: Any) -> dict[str, tuple[nn.Parameter, nn.Parameter]]:  # noqa: ANN401
    """Map each module's name in the transformer to its (down [rank, in], up [out, rank])."""
    return {
        name: (module.lora_A[ADAPTER].weight, module.lora_B[ADAPTER].weight)
        for name, module in model.named_modules()
        if hasattr(module, "lora_A") and ADAPTER in module.lora_A
    }
