"""Run as a child in the trainer's environment: a real matmul and real attention, their numbers checked.

A JSON line as each step begins, and one with what came of it, so that a step that takes the process down is known:
{"begin": STEP}, then {"step": STEP, ...} or {"step": STEP, "error": TEXT}. Every GPU that is visible is tried;
without one the CPU. This file imports nothing of musabi and runs on any Python from 3.10.
"""

import importlib
import importlib.metadata
import json
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

# Of the largest number. Right bfloat16 kernels are off by 0.004 to 0.016 here, a wrong one by far more.
TOLERANCE = 0.06


class WrongNumbersError(Exception):
    """A kernel returned numbers that are off; the argument says by how much."""


def version(name: str) -> "str | None":
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def about_torch() -> dict[str, Any]:
    import torch

    return {"version": torch.__version__, "cuda": torch.version.cuda, "arches": torch.cuda.get_arch_list()}


def about_torchvision() -> dict[str, Any]:
    found = version("torchvision")
    if found is not None:
        # One that belongs to another torch does not import.
        importlib.import_module("torchvision")
    return {"version": found}


def devices() -> dict[str, Any]:
    import torch

    if torch.version.cuda is None:
        return {"devices": [], "reason": "no CUDA in this build"}
    try:
        torch.cuda.init()
    except Exception as error:  # it says why there is no GPU to use
        return {"devices": [], "reason": text_of(error)}
    found = []
    for index in range(torch.cuda.device_count()):
        name, capability = torch.cuda.get_device_name(index), torch.cuda.get_device_capability(index)
        found.append({"name": name, "capability": list(capability)})
    return {"devices": found}


def compare(found: "Tensor", right: "Tensor") -> None:
    off = float((found.detach().float().cpu() - right).abs().max() / right.abs().max())
    if not math.isfinite(off) or off > TOLERANCE:
        raise WrongNumbersError(f"{off:.3g}")


def noise(*shape: int) -> "Tensor":
    """Return the same numbers each time, as bfloat16 holds them."""
    import torch

    return torch.randn(*shape, generator=torch.Generator().manual_seed(len(shape))).bfloat16()


def matmul(place: str) -> None:
    a, b = noise(512, 512), noise(512, 512).T.contiguous()
    compare(a.to(place) @ b.to(place), a.float() @ b.float())


def attend(place: str, kernel: "Callable[[Tensor, Tensor, Tensor], Tensor]") -> None:
    """Run a kernel forward and backward on (batch, heads, tokens, size), against plain arithmetic."""
    import torch

    def run(start: "Tensor", how: "Callable[[Tensor, Tensor, Tensor], Tensor]") -> "tuple[Tensor, Tensor]":
        q = start.clone().requires_grad_()
        out = how(q, start.flip(2), start.flip(3))
        out.float().square().sum().backward()
        return out, q.grad

    def plain(q: "Tensor", k: "Tensor", v: "Tensor") -> "Tensor":
        return torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1]), -1) @ v

    start = noise(1, 2, 128, 64)
    right, right_grad = run(start.float(), plain)
    found, grad = run(start.to(place), kernel)
    compare(found, right.detach())
    compare(grad, right_grad)


def sdpa(place: str) -> None:
    import torch

    attend(place, torch.nn.functional.scaled_dot_product_attention)


def flash(place: str) -> None:
    from flash_attn import flash_attn_func  # type: ignore[import-not-found]

    def kernel(q: "Tensor", k: "Tensor", v: "Tensor") -> "Tensor":
        # It takes (batch, tokens, heads, size).
        return flash_attn_func(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)).transpose(1, 2)

    attend(place, kernel)


def text_of(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:300]


def step(name: str, work: "Callable[[], dict[str, Any] | None]") -> "dict[str, Any] | None":
    """Do one step and say what came of it; return that, or None where it failed."""
    print(json.dumps({"begin": name}), flush=True)
    try:
        found = work() or {}
    except WrongNumbersError as wrong:
        print(json.dumps({"step": name, "off": str(wrong)}), flush=True)
        return None
    except BaseException as error:  # a broken package may raise anything
        print(json.dumps({"step": name, "error": text_of(error)}), flush=True)
        return None
    print(json.dumps({"step": name, **found}), flush=True)
    return found


def on_each(places: "list[str]", kernel: "Callable[[str], None]") -> "Callable[[], dict[str, Any]]":
    def work() -> dict[str, Any]:
        import torch

        for place in places:
            kernel(place)
            if place != "cpu":
                torch.cuda.synchronize(place)
        return {"places": places}

    return work


def main() -> None:
    if step("torch", about_torch) is None:
        return
    step("torchvision", about_torchvision)
    there = step("devices", devices)
    if there is None:
        return
    places = [f"cuda:{index}" for index in range(len(there["devices"]))]
    step("matmul", on_each(places or ["cpu"], matmul))
    step("SDPA", on_each(places or ["cpu"], sdpa))
    found = version("flash-attn")
    if found is None or not places:
        print(json.dumps({"step": "flash-attn", "version": found, "tried": False}), flush=True)
    else:
        step("flash-attn", lambda: on_each(places, flash)() | {"version": found, "tried": True})


if __name__ == "__main__":
    main()
