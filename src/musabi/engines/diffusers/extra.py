"""Extra arguments that a person passes on to this engine's child processes: looked at before they start."""

from collections.abc import Sequence

from musabi.engines.diffusers import cache_latents, cache_text, sample, train
from musabi.engines.diffusers.process import Arguments
from musabi.errors import RequestError

# Arguments that the product sets itself, and where to set them instead.
OWNED = {
    "--dit": "DIT_PATH",
    "--vae": "VAE_PATH",
    "--text_encoder": "TEXT_ENCODER_PATH",
    "--dataset_config": "DATASET_CONFIG",
    "--output_dir": "OUTPUT_DIR",
    "--output_name": "OUTPUT_NAME",
    "--logging_dir": "LOGGING_DIR",
    "--max_train_epochs": "MAX_TRAIN_EPOCHS",
    "--max_train_steps": "MAX_TRAIN_EPOCHS or TARGET_STEPS",
    "--save_every_n_epochs": "SAVE_EVERY_N_EPOCHS",
    "--save_state_every_n_epochs": "SAVE_STATE_EVERY_N_EPOCHS",
    "--sample_every_n_epochs": "SAMPLE_EVERY_N_EPOCHS",
    "--sample_prompts": "SAMPLE_PROMPTS",
    "--from_file": "SAMPLE_PROMPTS",
    "--skip_existing": "LATENT_SKIP_EXISTING or TEXT_ENCODER_SKIP_EXISTING",
    "--resume": "--resume before the --",
    "--lora_weight": "the LoRA before the --",
    "--save_path": "--folder before the --",
    "--latent_path": "--latents before the --",
}


def _flags(args: Sequence[str]) -> list[str]:
    """Return the flags among the arguments, without values that follow an equals sign."""
    return [arg.split("=", 1)[0] for arg in args if arg.startswith("--")]


def known(parser: Arguments) -> frozenset[str]:
    """Return the flags that a parser knows."""
    return frozenset(parser.flags())


def refuse_train(args: Sequence[str]) -> None:
    """Raise a RequestError for training arguments that are unknown or that the product sets itself."""
    _refuse(args, known(train.arguments()))


def refuse_sample(args: Sequence[str]) -> None:
    """Raise a RequestError for sampling arguments that are unknown or that the product sets itself."""
    _refuse(args, known(sample.arguments()))


def refuse_cache(args: Sequence[str]) -> None:
    """Raise a RequestError for caching arguments that neither script knows, or that the product sets itself."""
    _refuse(args, known(cache_latents.arguments()) | known(cache_text.arguments()))


def for_parser(args: Sequence[str], parser: Arguments) -> tuple[str, ...]:
    """Return the arguments, with their values, whose flags the parser knows."""
    kept: list[str] = []
    taking = False
    for arg in args:
        if arg.startswith("--"):
            taking = arg.split("=", 1)[0] in known(parser)
        if taking:
            kept.append(arg)
    return tuple(kept)


def _refuse(args: Sequence[str], flags: frozenset[str]) -> None:
    if args and not args[0].startswith("--"):
        raise RequestError(
            f'The extra arguments begin with "{args[0]}". Begin with a flag, such as --seed 1.'
        )
    for flag in _flags(args):
        if flag in OWNED:
            raise RequestError(f"{flag} can't be passed on: musabi sets it itself. Set {OWNED[flag]}.")
        if flag not in flags:
            raise RequestError(
                f"The diffusers engine knows no argument {flag}. If musubi-tuner has it, use the musubi engine: "
                "set ENGINE=musubi."
            )
