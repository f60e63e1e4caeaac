"""Extra arguments that a person passes on to the trainer's scripts: looked at before anything starts."""

from ast import literal_eval
from collections.abc import Mapping, Sequence

from musabi.errors import RequestError

ATTENTION = frozenset({"--sdpa", "--flash_attn", "--flash3", "--sage_attn", "--xformers"})

# What the product says itself, and what to do instead.
OWNED: dict[str, str] = {
    "--output_dir": "Set OUTPUT_DIR.",
    "--output_name": "Set OUTPUT_NAME.",
    "--logging_dir": "Set LOGGING_DIR.",
    "--dataset_config": "Set DATASET_CONFIG.",
    "--resume": "Use --resume before the --.",
    "--save_state": "States are saved with each checkpoint; set SAVE_STATE_EVERY_N_EPOCHS.",
    "--save_every_n_epochs": "Set SAVE_EVERY_N_EPOCHS.",
    "--sample_every_n_epochs": "Set SAMPLE_EVERY_N_EPOCHS.",
    "--sample_every_n_steps": "Set SAMPLE_EVERY_N_EPOCHS; with both, the trainer renders twice where an "
    "epoch ends.",
    "--sample_prompts": "Set SAMPLE_PROMPTS.",
    "--max_train_epochs": "Set MAX_TRAIN_EPOCHS.",
    "--max_train_steps": "Set MAX_TRAIN_EPOCHS or TARGET_STEPS.",
    "--save_last_n_epochs": "Set KEEP_LAST_STATES; checkpoints are all kept.",
    "--save_last_n_steps": "Set KEEP_LAST_STATES; checkpoints are all kept.",
    "--save_last_n_epochs_state": "Set KEEP_LAST_STATES.",
    "--save_last_n_steps_state": "Set KEEP_LAST_STATES.",
    "--show_timesteps": "Set SHOW_TIMESTEPS.",
    "--debug_mode": "It caches nothing. Run the trainer's script yourself for that.",
    "--keep_cache": "Training would use the cache files of images that are no longer in the dataset.",
    "--skip_existing": "Set LATENT_SKIP_EXISTING or TEXT_ENCODER_SKIP_EXISTING.",
    "--config_file": "Pass its values as arguments, so that they can be checked.",
    "--resume_from_huggingface": "Fetch the state first, then use --resume.",
}
# Secrets must not stand on a command line, where every process list shows them.
SECRET: Mapping[str, str] = {
    "--huggingface_token": "Set HF_TOKEN.",
    "--wandb_api_key": "Set WANDB_API_KEY.",
}
EVALUATED = frozenset({"--optimizer_args", "--lr_scheduler_args"})
PAIRS = EVALUATED | {"--network_args"}
PUBLISHING = ("--huggingface_", "--save_state_to_huggingface", "--async_upload")


def groups(args: Sequence[str]) -> list[tuple[str, ...]]:
    """Split arguments into flags with their values: ["--a", "1", "2", "--b=3"] -> [(--a, 1, 2), (--b, 3)]."""
    made: list[list[str]] = []
    for arg in args:
        if arg.startswith("--"):
            made.append(arg.split("=", 1))
        elif made:
            made[-1].append(arg)
        else:
            raise RequestError(
                f'The extra arguments begin with "{arg}". Begin with a flag, such as --seed 1.'
            )
    return [tuple(group) for group in made]


def flags(args: Sequence[str]) -> frozenset[str]:
    """Return the flags among the arguments."""
    return frozenset(group[0] for group in groups(args))


def value_of(args: Sequence[str], flag: str) -> str | None:
    """Return the first value of the last `flag` among the arguments, or None."""
    found = [group[1] for group in groups(args) if group[0] == flag and len(group) > 1]
    return found[-1] if found else None


def accumulated(args: Sequence[str]) -> int:
    """Return how many batches are added up before the optimizer steps; 1 where no argument says it."""
    value = value_of(args, "--gradient_accumulation_steps") or "1"
    return max(1, int(value)) if value.isdecimal() else 1


def for_script(args: Sequence[str], own: frozenset[str], other: frozenset[str]) -> tuple[str, ...]:
    """Return those of the extra caching arguments that go to a script with the arguments `own`.

    What only the other caching script knows is left out; what neither knows goes to both, to be refused.
    """
    return tuple(part for group in groups(args) if group[0] in own or group[0] not in other for part in group)


def refuse_owned(args: Sequence[str], weights: Mapping[str, str]) -> None:
    """Raise a RequestError for arguments that the product sets itself, and for secrets.

    `weights` maps the scripts' arguments for weight files to the settings that name those files.
    """
    owned = OWNED | {flag: f"Set {setting}." for flag, setting in weights.items()}
    for flag in sorted(flags(args)):
        if flag in SECRET:
            raise RequestError(f"{flag} would show a secret to everyone who lists processes. {SECRET[flag]}")
        if flag in owned:
            raise RequestError(f"{flag} can't be passed on: musabi sets it itself. {owned[flag]}")
        if flag.startswith(PUBLISHING):
            raise RequestError(
                f"{flag} can't be passed on: finished files are moved out of the trainer's folder before "
                "it could upload them. Publish them when the run is done."
            )


def refuse_unusable(args: Sequence[str], unusable: Mapping[str, str]) -> None:
    """Raise a RequestError for arguments that can't work with this model."""
    for flag in sorted(flags(args) & unusable.keys()):
        raise RequestError(f"{flag} can't work here: {unusable[flag]}")


def refuse_values(args: Sequence[str]) -> None:
    """Raise a RequestError for values that the trainer would choke on after it has loaded the model."""
    if (value_of(args, "--optimizer_type") or "").lower() == "prodigy":
        raise RequestError(
            "--optimizer_type prodigy is no name that the trainer knows. Train with musabi train."
        )
    for flag, *pairs in groups(args):
        if flag in PAIRS:
            refuse_pairs(flag, pairs, literal=flag in EVALUATED)


def refuse_pairs(name: str, pairs: Sequence[str], *, literal: bool = False) -> None:
    """Raise a RequestError for what is no name=value pair; `literal`: the trainer evaluates the values."""
    for pair in pairs:
        if pair.count("=") != 1 or (literal and not _is_literal(pair.partition("=")[2])):
            raise RequestError(
                f'{name} takes name=value pairs with a number, True, False or a quoted text, not "{pair}".'
            )


def _is_literal(text: str) -> bool:
    try:
        literal_eval(text)
    except (ValueError, SyntaxError):
        return False
    return True


def refuse_combinations(args: Sequence[str]) -> None:
    """Raise a RequestError for arguments that each work, but not together."""
    given = flags(args)
    if "--base_weights" in given and given & {"--fp8_scaled", "--fp8_base"}:
        raise RequestError(
            "--base_weights has no effect on a model that is held in 8 bits: the trainer adds the weights "
            "and they round away. Leave --fp8_base and --fp8_scaled out, or merge the weights into the "
            "model first."
        )
    if "--fp8_scaled" in given and "--fp8_base" not in given:
        raise RequestError("--fp8_scaled works only together with --fp8_base. Pass both.")
    if len(given & ATTENTION) > 1:
        raise RequestError(
            f"{' and '.join(sorted(given & ATTENTION))} exclude each other, and the trainer would take one "
            "without a word. Pass one of them."
        )
    workers = value_of(args, "--max_data_loader_n_workers")
    if workers == "0" and "--persistent_data_loader_workers" in given:
        raise RequestError(
            "--persistent_data_loader_workers needs workers, and --max_data_loader_n_workers is 0. "
            "Leave one of them out."
        )
