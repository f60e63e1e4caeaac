"""Run inside the trainer's environment: imports each package that is named and says what came of it.

A JSON line a package, so that one that takes the process down does not hide the others:
{"package": ..., "version": ... or "error": ...}. For flash_attn a real kernel runs where there is a GPU.
This file imports nothing of musabi and runs on any Python from 3.10.
"""

import importlib
import importlib.metadata
import json
import sys

DISTRIBUTIONS = {"hf_transfer": "hf-transfer", "flash_attn": "flash-attn"}


def version(name: str) -> str:
    try:
        return importlib.metadata.version(DISTRIBUTIONS.get(name, name))
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def use_kernel() -> None:
    import torch

    if not torch.cuda.is_available():
        raise RuntimeError("no GPU to prove the kernel on")
    from flash_attn import flash_attn_func  # type: ignore[import-not-found]

    q = torch.randn(1, 64, 2, 64, device="cuda", dtype=torch.bfloat16)
    out = flash_attn_func(q, q, q)
    torch.cuda.synchronize()
    if not bool(torch.isfinite(out).all()):
        raise RuntimeError("the kernel returned numbers that are not finite")


def main(names: list[str]) -> None:
    for name in names:
        print(json.dumps({"begin": name}), flush=True)
        try:
            importlib.import_module(name)
            if name == "flash_attn":
                use_kernel()
            found = {"package": name, "version": version(name)}
        except BaseException as error:  # a broken package may raise anything
            found = {"package": name, "error": f"{type(error).__name__}: {error}"[:300]}
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
