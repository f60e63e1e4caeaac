"""Settings that fit the machine: of the ways to train, the fastest that its GPU takes. Pure.

A way is a rung of a ladder, from the fastest to the one that takes the least memory. What a person asked for
is kept on every rung.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from musabi.engines.musubi import extra
from musabi.engines.musubi.needs import (
    GIB,
    RING,
    Rung,
    activations_gib,
    megapixels,
    need_gib,
    one_way,
    pinned,
    ram_gib,
)
from musabi.job.facts import Facts
from musabi.job.model import Job
from musabi.job.plan import Choice
from musabi.recipes import Recipe

__all__ = [
    "Fit",
    "Rung",
    "asked_for",
    "attention",
    "choices",
    "easier",
    "fit",
    "ladder",
    "need_gib",
    "swap_arguments",
    "text_encoder_in_8_bits",
    "warnings",
    "words",
    "workers",
]

ROOM = 0.94
"""Share of a GPU's memory that a plan counts on: the rest goes to fragments and to what others hold."""
SWAP_EIGHTHS = range(1, 9)
"""A swap's sizes, in eighths of the most blocks that a model swaps."""
CLEARLY = 0.92
"""An easier way takes at most this part of the memory: each try costs the time that loading a model takes."""
MOST_ADVISED = 64
"""The largest batch size that is spoken of."""
TEXT_ENCODER_EXTRA_GIB = 4.0
"""What encoding captions takes besides the encoder's weights."""
ASKED = "asked for"
PRECISION, CHECKPOINTING, SWAPPED = "model precision", "gradient checkpointing", "blocks swapped"
"""The choices that a rung is made of, as a plan names them."""


@dataclass(frozen=True)
class Fit:
    """The way that was chosen. `need_gib` is what it takes, `room_gib` what may be taken (0: no GPU)."""

    rung: Rung
    need_gib: float
    room_gib: float

    @property
    def fits(self) -> bool:
        return self.room_gib == 0 or self.need_gib <= self.room_gib


def fit(job: Job, facts: Facts, recipe: Recipe) -> Fit:
    """Return the first rung that fits the smallest GPU; the one that takes the least where none does."""
    rungs = _ways(job, facts, recipe)
    if not facts.machine.gpus:
        wanted = next((rung for rung in rungs if rung.checkpointing and not rung.fp8), rungs[0])
        return Fit(wanted, need_gib(wanted, facts, recipe, job), 0)
    room = min(facts.machine.gpus) / GIB * ROOM
    needs = [(rung, need_gib(rung, facts, recipe, job)) for rung in rungs]
    rung, need = next((pair for pair in needs if pair[1] <= room), min(needs, key=lambda pair: pair[1]))
    return Fit(rung, need, room)


def easier(job: Job, facts: Facts, recipe: Recipe, planned: Iterable[Choice] = ()) -> tuple[Job, str] | None:
    """Return the job with the next rung that takes clearly less memory written into it, and what changed.

    `planned` are the choices of the plan that was made of the person's own job: what they don't call asked for
    was chosen, here or for an earlier try, and may change again. Without them all that the job says stays.
    """
    now = fit(job, facts, recipe)
    own = _as_asked(job, asked_for(planned)) if planned else job
    rungs = _ways(own, facts, recipe)
    after = rungs[rungs.index(now.rung) + 1 :] if now.rung in rungs else rungs
    leaner = [(rung, need_gib(rung, facts, recipe, job)) for rung in after]
    leaner = [pair for pair in leaner if pair[1] < now.need_gib]
    if not facts.machine.gpus or not leaner:
        return None
    clearly = (rung for rung, need in leaner if need <= now.need_gib * CLEARLY)
    rung = next(clearly, leaner[-1][0])
    written = {
        "dit_precision": "fp8" if rung.fp8 else "bf16",
        "gradient_checkpointing": rung.checkpointing,
        "blocks_to_swap": rung.swap,
    }
    return job.model_copy(update=written), words(now.rung, rung)


def asked_for(planned: Iterable[Choice]) -> frozenset[str]:
    """Return the names of the choices that a person made."""
    return frozenset(choice.setting for choice in planned if choice.why == ASKED)


def _as_asked(job: Job, asked: frozenset[str]) -> Job:
    """Return the job with what was not asked for left open."""
    free: dict[str, dict[str, object]] = {
        PRECISION: {"dit_precision": "auto"},
        CHECKPOINTING: {"gradient_checkpointing": None},
        SWAPPED: {"blocks_to_swap": None},
    }
    left = {
        field: value for name, values in free.items() if name not in asked for field, value in values.items()
    }
    return job.model_copy(update=left)


def words(old: Rung, new: Rung) -> str:
    """Say what the new rung changes, as settings that a person can give."""
    changes = (
        ("DIT_PRECISION=fp8", new.fp8 and not old.fp8),
        ("DIT_PRECISION=bf16", old.fp8 and not new.fp8),
        ("GRADIENT_CHECKPOINTING=1", new.checkpointing and not old.checkpointing),
        (f"BLOCKS_TO_SWAP={new.swap}", new.swap != old.swap),
    )
    return " ".join(text for text, changed in changes if changed)


def _ways(job: Job, facts: Facts, recipe: Recipe) -> tuple[Rung, ...]:
    """Return the rungs without those that swap blocks where that can't be."""
    rungs = ladder(job, recipe)
    if may_swap(job, facts, recipe):
        return rungs
    return tuple(rung for rung in rungs if not rung.swap) or rungs


def may_swap(job: Job, facts: Facts, recipe: Recipe) -> bool:
    """Tell whether this model swaps blocks with these batches, this attention and these arguments."""
    limits = recipe.limits
    if extra.flags(job.extra_train_args) & set(limits.no_swap_with):
        return False
    batch = max((bucket.batch for bucket in facts.dataset.buckets), default=1)
    kind = attention(job, facts, recipe) or min(extra.flags(job.extra_train_args) & extra.ATTENTION)[2:]
    return batch < 2 or not {"any", kind} & set(limits.swap_batch_1)


def ladder(job: Job, recipe: Recipe) -> tuple[Rung, ...]:
    """Return the ways that this model and this job allow, the fastest first."""
    checkpointing = asked_checkpointing(job)
    again = (False, True) if checkpointing is None else (checkpointing,)
    made = [Rung(fp8, each, 0) for fp8 in _precisions(job, recipe) for each in again]
    if checkpointing is None:
        # Without checkpointing autograd keeps the weights that were unpacked from 8 bits, so nothing is saved.
        made = [rung for rung in made if rung.checkpointing or not rung.fp8]
    fixed, most = asked_swap(job), recipe.limits.max_blocks_to_swap
    if fixed is not None or not most:
        return tuple(Rung(rung.fp8, rung.checkpointing, fixed or 0) for rung in made)
    leanest = made[-1]
    counts = sorted({-(-most * eighths // 8) for eighths in SWAP_EIGHTHS})
    # A swap that is no larger than its own buffers would free nothing.
    swapped = (Rung(leanest.fp8, leanest.checkpointing, count) for count in counts if count > RING)
    return (*made, *swapped)


def _precisions(job: Job, recipe: Recipe) -> tuple[bool, ...]:
    """Return whether the DiT may be held in 8 bits, what is tried first first.

    An adapter or base weights that are merged into a DiT in 8 bits round away.
    """
    if asked_precision(job) == "fp8":
        return (True,)
    merged = "--base_weights" in extra.flags(job.extra_train_args) or "adapter" in job.weights
    may = recipe.limits.fp8 in ("scaled", "base") and job.dit_precision != "bf16" and not merged
    return (False, True) if may else (False,)


def asked_precision(job: Job) -> str | None:
    """Return the precision that a person chose for the DiT, by setting or by a flag that was passed on."""
    if extra.flags(job.extra_train_args) & {"--fp8_base", "--fp8_scaled"}:
        return "fp8"
    return None if job.dit_precision == "auto" else job.dit_precision


def asked_checkpointing(job: Job) -> bool | None:
    """Return what a person chose about gradient checkpointing, or None."""
    if "--gradient_checkpointing" in extra.flags(job.extra_train_args):
        return True
    return job.gradient_checkpointing


def asked_swap(job: Job) -> int | None:
    """Return how many blocks a person wants swapped, or None."""
    passed = extra.value_of(job.extra_train_args, "--blocks_to_swap")
    return int(passed) if passed is not None and passed.isdecimal() else job.blocks_to_swap


def swap_arguments(rung: Rung, job: Job, facts: Facts, recipe: Recipe) -> tuple[str, ...]:
    """Return the training script's arguments for a rung's swap, without those that a person passed on."""
    given = extra.flags(job.extra_train_args)
    if not rung.swap:
        return ()
    number = () if "--blocks_to_swap" in given else ("--blocks_to_swap", str(rung.swap))
    switches = (
        ("--block_swap_h2d_only", one_way(rung, recipe)),
        ("--use_pinned_memory_for_block_swap", pinned(rung, job, facts, recipe)),
    )
    return (*number, *(flag for flag, wanted in switches if wanted and flag not in given))


def text_encoder_in_8_bits(asked: bool | None, gpus: tuple[int, ...], recipe: Recipe) -> bool:
    """Tell whether captions are encoded in 8 bits: as asked for, else where the GPU holds no more."""
    if asked is not None or not gpus:
        return bool(asked and gpus)
    return (
        min(gpus) / GIB * ROOM < recipe.memory.text_encoder_billions * 1e9 * 2 / GIB + TEXT_ENCODER_EXTRA_GIB
    )


def attention(job: Job, facts: Facts, recipe: Recipe) -> str | None:
    """Return the kind of attention to train with, or None where a person passed a flag on."""
    if extra.flags(job.extra_train_args) & extra.ATTENTION:
        return None
    if job.attention != "auto":
        return job.attention
    proven = "flash_attn" in facts.trainer.packages and "flash_attn" in recipe.limits.attention
    return "flash_attn" if proven and facts.machine.gpus else "sdpa"


def workers(job: Job, facts: Facts) -> int:
    """Return how many processes load batches: two, as musubi-tuner's documents say, where there are cores."""
    if job.data_loader_workers is not None:
        return job.data_loader_workers
    return max(1, min(2, facts.machine.cpus - 1))


def choices(job: Job, facts: Facts, recipe: Recipe) -> tuple[Choice, ...]:
    """Return the chosen way in words, each part with its reason."""
    found = fit(job, facts, recipe)
    rung, batch = found.rung, _batch(job, found, facts, recipe)
    eight_bits = rung.fp8 or recipe.limits.fp8 == "stored"
    return (
        Choice(PRECISION, "fp8" if eight_bits else "bf16", _why_precision(job, found, recipe)),
        Choice(CHECKPOINTING, "on" if rung.checkpointing else "off", _why_checkpointing(job, found)),
        Choice(SWAPPED, str(rung.swap), _why_swap(job, found, facts, recipe)),
        *((batch,) if batch else ()),
        Choice("compile", *_compile(job, rung)),
        Choice("data loader workers", *_workers(job, facts)),
        *_text_encoder(job, facts, recipe),
    )


def _room(found: Fit) -> str:
    if not found.room_gib:
        return "there is no GPU"
    return f"about {found.need_gib:.0f} of {found.room_gib:.0f} GiB of GPU memory"


def _why_precision(job: Job, found: Fit, recipe: Recipe) -> str:
    if asked_precision(job):
        return ASKED
    if recipe.limits.fp8 == "stored":
        return "the file holds 8 bits"
    if found.rung.fp8:
        return f"in bf16 it would not fit; {_room(found)}"
    if "adapter" in job.weights:
        return f"the adapter that is merged into the model would round away in 8 bits; {_room(found)}"
    return f"nothing is lost by rounding; {_room(found)}"


def _why_checkpointing(job: Job, found: Fit) -> str:
    if asked_checkpointing(job) is not None:
        return ASKED
    if found.rung.checkpointing:
        return "the activations would not fit" if found.room_gib else "there is no GPU, and it saves memory"
    return f"the activations fit, so nothing is computed twice; {_room(found)}"


def _why_swap(job: Job, found: Fit, facts: Facts, recipe: Recipe) -> str:
    rung = found.rung
    if not rung.swap:
        none = "all blocks fit" if found.fits else "this model can't swap any"
        return ASKED if asked_swap(job) is not None else none if found.room_gib else "there is no GPU"
    if asked_swap(job) is not None:
        return ASKED
    how = (
        "copied one way, as a LoRA leaves the model as it is" if one_way(rung, recipe) else "copied both ways"
    )
    memory = "pinned main memory" if pinned(rung, job, facts, recipe) else "main memory"
    return f"the rest fits; they wait in {memory}, {how}"


def _batch(job: Job, found: Fit, facts: Facts, recipe: Recipe) -> Choice | None:
    """Return what the dataset TOML says and could say: the trainer takes no batch size from anywhere else."""
    if not found.room_gib or not facts.dataset.buckets:
        return None
    now = max(bucket.batch for bucket in facts.dataset.buckets)
    constant = found.need_gib - activations_gib(found.rung, recipe) * megapixels(facts, recipe)
    one = activations_gib(found.rung, recipe) * megapixels(facts, recipe, batch=1)
    most = min(MOST_ADVISED, int((found.room_gib - constant) / one))
    if most > now:
        return Choice("batch size", str(now), f"from the dataset TOML; batch_size = {most} would fit as well")
    if most < 1 or most == now:
        return Choice("batch size", str(now), "from the dataset TOML; more would not fit with these settings")
    return Choice("batch size", str(now), f"from the dataset TOML; batch_size = {most} would fit better")


def _compile(job: Job, rung: Rung) -> tuple[str, str]:
    if not job.compile and "--compile" not in extra.flags(job.extra_train_args):
        return (
            "off",
            "it compiles anew for each bucket, some minutes each; COMPILE=1 pays on long runs with few",
        )
    return "on", "asked for, but with blocks swapped it gains little" if rung.swap else ASKED


def _workers(job: Job, facts: Facts) -> tuple[str, str]:
    if job.data_loader_workers is not None or "--max_data_loader_n_workers" in extra.flags(
        job.extra_train_args
    ):
        passed = extra.value_of(job.extra_train_args, "--max_data_loader_n_workers")
        return passed or str(job.data_loader_workers), ASKED
    cores = facts.machine.cpus
    return str(
        workers(job, facts)
    ), f"cache files are small to read; {cores} cores" if cores > 1 else "one core"


def _text_encoder(job: Job, facts: Facts, recipe: Recipe) -> tuple[Choice, ...]:
    """Return how captions are encoded, where the model's script can do it in 8 bits."""
    asked = job.caching.fp8_text_encoder
    if recipe.scripts.cache_text.fp8_text_encoder is None:
        return ()
    small = text_encoder_in_8_bits(asked, facts.machine.gpus, recipe)
    if asked is not None and asked == small:
        why = ASKED
    elif not facts.machine.gpus:
        why = "there is no GPU"
    else:
        why = "in 16 bits it would not fit" if small else "it fits, and nothing is lost by rounding"
    return (Choice("text encoder precision", "fp8" if small else "bf16", why),)


def warnings(job: Job, facts: Facts, recipe: Recipe) -> tuple[str, ...]:
    """Return what a person should know about a plan that probably does not fit."""
    found = fit(job, facts, recipe)
    said = []
    if not found.fits:
        said.append(
            f"This takes about {found.need_gib:.0f} GiB of GPU memory, and about {found.room_gib:.0f} GiB can be "
            "used here. It may fail at the first step: lower the resolution or batch_size in the dataset TOML, "
            "or take a larger GPU."
        )
    need, ram = ram_gib(found.rung, job, facts, recipe), facts.machine.ram / GIB
    if ram and need > ram:
        said.append(
            f"This takes about {need:.0f} GiB of main memory ({_why_ram(job, found.rung, facts)}), and {ram:.0f} GiB "
            "are here. The system may end the trainer while it loads: take a machine with more memory."
        )
    return tuple(said)


def _why_ram(job: Job, rung: Rung, facts: Facts) -> str:
    if not facts.machine.gpus:
        return "without a GPU the model is held there"
    if "dit_high_noise" in job.weights:
        return "the model that is not trained at the moment waits there"
    return "with blocks swapped the model is loaded there first" if rung.swap else "its file is read whole"
