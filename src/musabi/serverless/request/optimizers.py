"""The optimizers that a request can name: an allowlist, with what each is for the trainers.

Never a dotted name: musubi-tuner would import whatever it says (training/trainer_base.py: get_optimizer).
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Optimizer:
    """One optimizer. `row` is musabi's own name for it, `flag` musubi-tuner's --optimizer_type where there is no row.

    `pipe` is diffusion-pipe's name. `takes` are the parameters that it has besides the learning rate, `fixed` are
    arguments that musubi-tuner is always given with it.
    """

    row: str | None = None
    flag: str | None = None
    pipe: str | None = None
    takes: tuple[str, ...] = ("betas", "weight_decay", "eps")
    fixed: tuple[str, ...] = ()

    @property
    def musubi(self) -> bool:
        """Whether musubi-tuner has it."""
        return self.row is not None or self.flag is not None


OPTIMIZERS = {
    "adamw_optimi": Optimizer(row="adamw", pipe="adamw_optimi"),
    "adamw": Optimizer(row="adamw", pipe="adamw"),
    "adamw8bit": Optimizer(row="adamw8bit", pipe="adamw8bit"),
    "prodigy": Optimizer(row="prodigy", pipe="Prodigy"),
    "adafactor": Optimizer(
        flag="Adafactor",
        pipe="AdaFactor",
        takes=("weight_decay",),
        fixed=("relative_step=False", "scale_parameter=False"),
    ),
    "adam": Optimizer(flag="Adam"),
    "nadam": Optimizer(flag="NAdam"),
    "radam": Optimizer(flag="RAdam"),
    "sgd": Optimizer(flag="SGD", pipe="sgd", takes=("weight_decay",)),
    "stableadamw": Optimizer(pipe="stableadamw"),
    "adamw8bitkahan": Optimizer(pipe="adamw8bitkahan"),
    "automagic": Optimizer(pipe="automagic", takes=("weight_decay",)),
    "genericoptim": Optimizer(pipe="genericoptim", takes=("betas", "weight_decay", "eps")),
    "adan": Optimizer(pipe="Adan", takes=("weight_decay", "eps")),
    "ademamix": Optimizer(pipe="AdEMAMix", takes=("weight_decay", "eps")),
    "adopt": Optimizer(pipe="ADOPT"),
    "came": Optimizer(pipe="CAME", takes=("weight_decay",)),
    "lion": Optimizer(pipe="Lion", takes=("betas", "weight_decay")),
    "soap": Optimizer(pipe="SOAP"),
    "tiger": Optimizer(pipe="Tiger", takes=("weight_decay",)),
}
"""By the name in a request, in small letters; capitals in a request don't matter."""

EMBEDDED = ("adamw_optimi", "adamw", "adamw8bit", "prodigy")
"""Those of the embedded engine (engines/diffusers/optimizers.py)."""


def find(name: str) -> Optimizer | None:
    """Return the optimizer of that name, or None."""
    return OPTIMIZERS.get(name.lower())
