"""The post-hoc moving average of a run's checkpoints, as one LoRA.

The formula is that of musubi-tuner v0.3.4's lora_post_hoc_ema.py, a few lines, done here without torch: so no
trainer's environment is needed, one tensor is in memory at a time, and files are put in order by the steps
they say, where the script takes the times they were written (a copied or resumed run has those wrong).
"""

import re
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np

from musabi.errors import RequestError
from musabi.lora.adapter import read_adapter
from musabi.lora.arrays import DTYPES, FLOATS, Array, Made, Reader, write
from musabi.lora.tensor_file import TensorFile

_EPOCH = re.compile(r".*-(\d{6})")
_STEP = re.compile(r".*-step(\d{8})")


def ema(
    files: Sequence[Path], output: Path, *, beta: float = 0.95, beta2: float | None = None,
    sigma_rel: float | None = None, as_given: bool = False,
) -> list[tuple[Path, float]]:  # fmt: skip
    """Write the average of checkpoints; return them in order, each with the share that it has in the result.

    Each file f in turn moves the average a to a beta + f (1 - beta). `beta2` lets beta go from `beta` to it
    evenly; `sigma_rel` takes the power function of Karras et al. (arXiv 2312.02696) instead. Metadata is the
    last file's.

    Raises:
        RequestError: fewer than two files, other layers or alphas than the first, or no order is known.
    """
    if len(files) < 2:
        raise RequestError("Name two checkpoints of one run or more, such as output/NAME-*.safetensors.")
    loaded = [read_adapter(path).file for path in files]
    if not as_given:
        loaded = in_order(loaded)
    for file in loaded[1:]:
        _require_alike(loaded[0], file)
    betas = decay(len(loaded) - 1, beta, beta if beta2 is None else beta2, sigma_rel)
    with ExitStack() as stack:
        readers = [stack.enter_context(Reader(file)) for file in loaded]
        _require_same_alphas(readers)
        tensors = {
            key: Made(entry.dtype, entry.shape, partial(_average, readers, key, betas, entry.dtype))
            for key, entry in loaded[0].entries.items()
        }
        write(output, tensors, loaded[-1].metadata)
    return list(zip([file.path for file in loaded], shares(betas), strict=True))


def decay(count: int, beta: float, beta2: float, sigma_rel: float | None) -> list[float]:
    """Return the beta with which each file after the first is taken in."""
    if sigma_rel is not None:
        # gamma solves g^3 + 7 g^2 + (16 - t) g + (12 - t) = 0 with t = 1 / sigma_rel^2.
        t = sigma_rel**-2
        roots = np.roots([1, 7, 16 - t, 12 - t])
        real = roots[np.isreal(roots) & (roots.real >= 0)].real
        if not real.size:
            raise RequestError(f"--sigma-rel {sigma_rel} is too large. Give one from 0.01 to 0.28.")
        return [float((1 - 1 / n) ** (real.max() + 1)) for n in range(1, count + 1)]
    return [beta + (beta2 - beta) * (n / (count - 1)) if count > 1 else beta for n in range(count)]


def shares(betas: Sequence[float]) -> list[float]:
    """Return how much of each file is in the average; they add up to 1."""
    found = [1.0]
    for beta in betas:
        found = [share * beta for share in found] + [1 - beta]
    return found


def in_order(files: list[TensorFile]) -> list[TensorFile]:
    """Return checkpoints from the first to the last, by the steps in their metadata, or by their names.

    Raises:
        RequestError: neither tells the order.
    """
    for place in (_steps, _epochs_in_name, _steps_in_name):
        found = [place(file) for file in files]
        known = [number for number in found if number is not None]
        if len(known) == len(files) == len(set(known)):
            order = sorted(range(len(files)), key=lambda n: known[n])
            return [files[n] for n in order]
    names = ", ".join(file.path.name for file in files[:3])
    raise RequestError(
        f"Neither the metadata nor the names of the files tell their order ({names}). Name them from the first "
        "to the last, and add --as-given."
    )


def _steps(file: TensorFile) -> float | None:
    said = file.metadata.get("ss_steps", "")
    return float(said) if said.isdigit() else None


def _epochs_in_name(file: TensorFile) -> float | None:
    """NAME-000010 is epoch 10; NAME alone is the last."""
    return _in_name(file, _EPOCH, _STEP)


def _steps_in_name(file: TensorFile) -> float | None:
    """NAME-step00000500 is step 500; NAME alone is the last."""
    return _in_name(file, _STEP, _EPOCH)


def _in_name(file: TensorFile, wanted: re.Pattern[str], other: re.Pattern[str]) -> float | None:
    match = wanted.fullmatch(file.path.stem)
    if match:
        return float(match[1])
    return None if other.fullmatch(file.path.stem) else float("inf")


def _require_alike(one: TensorFile, other: TensorFile) -> None:
    shapes = {key: entry.shape for key, entry in one.entries.items()}
    for key in sorted(shapes.keys() | other.entries.keys()):
        if key not in shapes or key not in other.entries or other.entries[key].shape != shapes[key]:
            raise RequestError(
                f"{one.path} and {other.path} are not checkpoints of one run: {key} is not alike in both. "
                "Name the files of one run."
            )


def _require_same_alphas(readers: list[Reader]) -> None:
    for key in readers[0].file.entries:
        if key.endswith(".alpha"):
            for one, other in pairwise(readers):
                if not np.allclose(one.floats(key), other.floats(key)):
                    raise RequestError(
                        f"{one.file.path} and {other.file.path} have another {key}. Name the files of one run."
                    )


def _average(readers: list[Reader], key: str, betas: list[float], dtype: str) -> Array:
    """Return one tensor averaged over the files; what is no weight comes from the first."""
    if dtype not in FLOATS or key.endswith(".alpha"):
        return readers[0].array(key)
    total = readers[0].floats(key)
    for reader, beta in zip(readers[1:], betas, strict=True):
        total = total * beta + reader.floats(key) * (1 - beta)
    return total.astype(DTYPES[dtype])
