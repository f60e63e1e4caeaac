"""How much GPU memory and main memory a way to train takes, in GiB: from the recipe's tables. Pure."""

from dataclasses import dataclass

from musabi.job.facts import Facts
from musabi.job.model import Job
from musabi.recipes import Recipe

GIB = 1024**3
EIGHT_BIT_BYTES = 1.10
"""Bytes a parameter in scaled fp8: one, a scale for every 64 (3 %), and the layers that stay in 16 bits, such as
embeddings and norms (2 to 15 %, by model; FP8_OPTIMIZATION_EXCLUDE_KEYS in the trainer)."""
UNPACKED = 1.5
"""Blocks in 16 bits that training in 8 bits holds besides: autograd keeps those of the block that is computed
backward, and the layer at hand is there twice (fp8_linear_forward_patch in the trainer)."""
RING = 2
"""Blocks that a swap towards the GPU alone keeps there as buffers (--block_swap_ring_size, its default)."""
UNMEASURED = 1.25
"""Margin on activations that were worked out and never measured on a GPU."""
LORA_BYTES = {"prodigy": 4 + 4 + 16, "adamw": 4 + 4 + 8, "adamw8bit": 4 + 4 + 2}
"""Bytes a LoRA parameter while training: value and gradient in 32 bits, and what the optimizer remembers."""
PROCESSES_GIB = 6.0
"""Main memory of the trainer and its loaders besides the model. Z-Image on a CPU: 19.8 GB, 12.3 of them weights."""
PINNED_SHARE = 0.4
"""Share of the main memory that may be pinned: pinned pages can't be given back when others need them."""


@dataclass(frozen=True)
class Rung:
    """One way to train: the DiT in 8 bits or not, activations computed twice or kept, blocks swapped out."""

    fp8: bool
    checkpointing: bool
    swap: int


def need_gib(rung: Rung, facts: Facts, recipe: Recipe, job: Job | None = None) -> float:
    """Return about how much GPU memory a rung takes: weights, activations, everything else.

    `job` says how large the LoRA is and what the optimizer keeps of it; without it rank 32 and AdamW8bit.
    """
    memory = recipe.memory
    on_gpu = weights_gib(rung, recipe) - swapped_gib(rung, recipe) + buffers_gib(rung, recipe)
    activations = activations_gib(rung, recipe) * megapixels(facts, recipe)
    return on_gpu + activations + memory.fixed_gib + (larger_lora_gib(job, facts) if job else 0)


def weights_gib(rung: Rung, recipe: Recipe) -> float:
    """Return what one DiT takes as the rung holds it."""
    one = 1.0 if recipe.limits.fp8 == "stored" else EIGHT_BIT_BYTES if rung.fp8 else 2.0
    return recipe.memory.dit_billions * 1e9 * one / GIB


def swapped_gib(rung: Rung, recipe: Recipe) -> float:
    """Return what the swapped blocks take, wherever they are."""
    return weights_gib(rung, recipe) * rung.swap / recipe.memory.blocks


def buffers_gib(rung: Rung, recipe: Recipe) -> float:
    """Return what is on the GPU besides the weights: blocks being unpacked from 8 bits, and those on their way."""
    memory = recipe.memory
    eight_bits = rung.fp8 or recipe.limits.fp8 == "stored"
    unpacked = UNPACKED * memory.dit_billions * 1e9 * 2 / GIB / memory.blocks if eight_bits else 0
    ring = min(RING, rung.swap) if one_way(rung, recipe) else 0
    return unpacked + ring * weights_gib(rung, recipe) / memory.blocks


def one_way(rung: Rung, recipe: Recipe) -> bool:
    """Tell whether blocks are swapped towards the GPU alone.

    A LoRA leaves the model as it is, so nothing must be copied back; the trainer wants checkpointing with it.
    """
    return rung.swap > 0 and rung.checkpointing and recipe.limits.block_swap_h2d


def activations_gib(rung: Rung, recipe: Recipe) -> float:
    """Return what one megapixel of one latent frame takes, with the margin for numbers that were worked out."""
    each = recipe.memory.checkpointed_gib if rung.checkpointing else recipe.memory.stored_gib
    return each * (1.0 if recipe.memory.measured else UNMEASURED)


def megapixels(facts: Facts, recipe: Recipe, batch: int | None = None) -> float:
    """Return the most that one step holds: megapixels x latent frames x batch size, over the buckets.

    `batch` is taken in place of the buckets' own batch sizes.
    """
    step = recipe.dataset.latent_frames
    sizes = (
        bucket.width * bucket.height * ((bucket.frames - 1) // step + 1) * (batch or bucket.batch)
        for bucket in facts.dataset.buckets
    )
    return max(sizes, default=1024 * 1024 * (batch or 1)) / 1e6


def larger_lora_gib(job: Job, facts: Facts) -> float:
    """Return what the LoRA takes above rank 32 with AdamW8bit, which the recipe's `fixed_gib` holds already."""
    usual = facts.lora_parameters * 32 / job.network_dim * LORA_BYTES["adamw8bit"]
    return max(0.0, facts.lora_parameters * LORA_BYTES[job.optimizer] - usual) / GIB


def ram_gib(rung: Rung, job: Job, facts: Facts, recipe: Recipe) -> float:
    """Return about how much main memory training takes.

    Without a GPU the DiT is in it. With blocks swapped the trainer loads all of the DiT into it first. Of two
    DiTs one waits in it. A .pt file is read whole before it goes anywhere. Each GPU's process does so by itself.
    """
    held = weights_gib(rung, recipe)
    whole = recipe.weights["dit"].gigabytes * 1e9 / GIB if job.dit.suffix in (".pt", ".pth") else 0.0
    here = held if rung.swap or not facts.machine.gpus else 0.0
    waiting = held if "dit_high_noise" in job.weights else 0.0
    return _processes(facts) * (PROCESSES_GIB + max(here, whole) + waiting)


def _processes(facts: Facts) -> int:
    """Return how many trainers share the main memory: one a GPU, each with all of its own."""
    return max(1, len(facts.machine.gpus))


def pinned(rung: Rung, job: Job, facts: Facts, recipe: Recipe) -> bool:
    """Tell whether the swapped blocks are pinned in main memory: faster to copy, where there is enough of it."""
    ram = facts.machine.ram / GIB
    held = swapped_gib(rung, recipe) * _processes(facts)
    return rung.swap > 0 and ram_gib(rung, job, facts, recipe) <= ram and held <= ram * PINNED_SHARE
