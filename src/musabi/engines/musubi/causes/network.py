"""The LoRA itself: what it matches, what is merged into the model, what comes of the training."""

from musabi.engines.musubi.causes.cause import REQUEST, Cause

NO_MODULES = "create LoRA for U-Net/DiT: 0 modules"
NO_MODULES_MESSAGE = (
    "A LoRA matched no part of the model, so it would have no effect. Where it was given with --base_weights, "
    "its keys are of another kind: convert it first with musabi convert --to native. Otherwise check "
    "NETWORK_MODULE and NETWORK_ARGS."
)

NETWORK: tuple[Cause, ...] = (
    Cause(
        "no_modules",
        rf"(?s){NO_MODULES}|optimizer got an empty parameter list|No LoRA modules found|found zero target modules",
        NO_MODULES_MESSAGE,
        REQUEST,
        anywhere=True,
    ),
    Cause(
        "network_kind",
        r"Cannot auto-detect architecture",
        "LoHa and LoKr don't work with this model. Set NETWORK_MODULE=lora.",
        REQUEST,
        ("train",),
    ),
    Cause(
        "network_changed",
        r"(?s)Error\(s\) in loading state_dict for (?:LoRANetwork|LoHaNetwork|LoKrNetwork)",
        "The LoRA to go on from has another size or kind than the one that was asked for. Set NETWORK_DIM, "
        "NETWORK_MODULE and NETWORK_ARGS to what it was trained with.",
        REQUEST,
        ("train",),
    ),
    Cause(
        "optimizer_changed",
        r"loaded state dict (?:has a different number of parameter groups|contains a parameter group)",
        "The state to go on from was saved with another optimizer or LoRA. Set OPTIMIZER and NETWORK_DIM to "
        "what it was trained with, or start anew with --overwrite.",
        REQUEST,
        ("train",),
    ),
    Cause(
        "loss_not_a_number",
        r"avr_loss=-?(?:nan|inf)\b(?![\s\S]*Traceback)",
        "The loss became no number, so what was trained from there on is useless. Start anew with a lower "
        "LEARNING_RATE (with Prodigy PRODIGY_D_COEF), or go on from a state before that.",
        phases=("train",),
        echo=True,
    ),
)
