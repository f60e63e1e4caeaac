"""Arguments that the scripts refuse, or that don't go together."""

from musabi.engines.musubi.causes.cause import MACHINE, REQUEST, Cause

ARGUMENTS: tuple[Cause, ...] = (
    Cause(
        "attention_flag_missing",
        r"either --sdpa, --flash-attn",
        "No kind of attention was named. Set ATTENTION=sdpa, or pass --sdpa.",
        REQUEST,
        ("train",),
    ),
    Cause(
        "attention_not_installed",
        r"'NoneType' object is not callable|has no attribute 'memory_efficient_attention'",
        "The attention kind that was asked for is not installed. Leave its flag out: SDPA is used.",
        MACHINE,
        ("train", "sample"),
    ),
    Cause(
        "attention_kind",
        r"Unsupported attention mode: (\w+)|(SageAttention) doesn't support training",
        "This model can't be trained with the attention kind {0}. Set ATTENTION=sdpa.",
        REQUEST,
        ("train", "sample"),
    ),
    Cause(
        "optimizer_missing",
        r"module '[\w.]+' has no attribute '(\w*)'\n?[\s\S]{0,2}\Z|module 'torch\.optim' has no attribute '(\w*)'",
        'There is no optimizer of the name "{0}". Set OPTIMIZER to prodigy, adamw8bit or adamw, or pass '
        "--optimizer_type with a class of torch.optim or its full path.",
        REQUEST,
        ("train",),
    ),
    Cause(
        "optimizer_argument",
        r"got an unexpected keyword argument '(\w+)'",
        "The optimizer or its scheduler takes no argument {0}. Correct --optimizer_args or --lr_scheduler_args.",
        REQUEST,
        ("train",),
    ),
    Cause(
        "optimizer_value",
        r"malformed node or string|not enough values to unpack \(expected 2, got 1\)",
        "A value of --optimizer_args, --lr_scheduler_args or --network_args can't be read. Write name=value, "
        "and put words in quotes.",
        REQUEST,
        ("train",),
    ),
    Cause(
        "scheduler_warmup",
        r"(\S+) does not require `num_warmup_steps`",
        "The learning rate schedule {0} has no warm-up. Leave --lr_warmup_steps out, or pass --lr_scheduler "
        "constant_with_warmup.",
        REQUEST,
        ("train",),
    ),
    Cause(
        "scheduler_name",
        r"'([^']+)' is not a valid (?:\w*SchedulerType)",
        "There is no learning rate schedule of the name {0}. Pass --lr_scheduler with one that the trainer lists.",
        REQUEST,
        ("train",),
    ),
    Cause(
        "value_type",
        r"error: argument (--[\w/-]+)[^:\n]*: invalid (\w+) value: ('[^'\n]*')",
        "{0} takes a value of type {1}, not {2}. Correct it among the extra arguments.",
        REQUEST,
    ),
    Cause(
        "value_choice",
        r"error: argument (--[\w/-]+)[^:\n]*: invalid choice: ('[^'\n]*') \(choose from ([^\n)]+)",
        "{0} can't be {1}. Choose from {2}.",
        REQUEST,
    ),
    Cause(
        "argument_required",
        r"error: the following arguments are required: ([^\n]+)",
        "The script lacks arguments that it needs: {0}. Pass them among the extra arguments.",
        REQUEST,
    ),
    Cause(
        "arguments_refused",
        r"error: (unrecognized arguments: [^\n]+|argument (?![^\n]*: invalid )[^\n]+|ambiguous option: [^\n]+)",
        "The script refused its arguments: {0}. Correct what follows the --.",
        REQUEST,
    ),
    Cause(
        "fp8_pair",
        r"fp8_scaled requires fp8_base|fp8 supports only scaled fp8|--fp8_base only together with --fp8_scaled",
        "This model takes 8 bits only with both switches. Set DIT_PRECISION=fp8, or pass --fp8_base and "
        "--fp8_scaled together.",
        REQUEST,
    ),
    Cause(
        "fp8_promotion",
        r"Promotion for Float8 Types is not supported",
        "With --fp8_base alone this model can't train on batches. Pass --fp8_scaled too, or set batch_size = 1 "
        "in the dataset TOML.",
        REQUEST,
        ("train", "sample"),
    ),
    Cause(
        "fp8_already",
        r"already in fp8 format, cannot scale",
        "The DiT's file is in 8 bits already, and can't be scaled once more. Set DIT_PATH to a bf16 or fp16 "
        "file, or leave --fp8_scaled out.",
        REQUEST,
    ),
    Cause(
        "dtype_mismatch",
        r"(DiT weights are in \w+), mixed precision must be|(must have the same dtype)|"
        r"(expected (?:m1 and m2 to have the same dtype|scalar type \w+ but found \w+))|"
        r"(dit_dtype must be (?:same|float16)[^\n]*)",
        "The number formats don't go together: {0}. Leave --mixed_precision and --dit_dtype out, so that the "
        "format of the DiT's file is used.",
        REQUEST,
        ("train", "sample"),
    ),
    Cause(
        "swap_too_many",
        r"Cannot swap more than ([^.\n]+)\.",
        "BLOCKS_TO_SWAP is too large for this model: at most {0}. Lower it.",
        REQUEST,
        ("train", "sample"),
    ),
    Cause(
        "swap_needs_checkpointing",
        r"--block_swap_h2d_only requires --gradient_checkpointing",
        "Swapping blocks one way needs gradient checkpointing. Set GRADIENT_CHECKPOINTING=1, or leave "
        "--block_swap_h2d_only out.",
        REQUEST,
        ("train",),
    ),
    Cause(
        "swap_and_offload",
        r"Block swap is not supported with offloading inactive DiT",
        "Swapping blocks and offloading the inactive model exclude each other. Leave --offload_inactive_dit "
        "out, or set BLOCKS_TO_SWAP=0.",
        REQUEST,
        ("train",),
    ),
    Cause(
        "timestep_boundary",
        r"timestep_boundary is not specified",
        "Training both models of Wan2.2 needs the time step where one hands over to the other. Pass "
        "--timestep_boundary 875 (T2V) or 900 (I2V), or choose a Wan2.2 model with MODEL.",
        REQUEST,
        ("train",),
    ),
    Cause(
        "image_model_needs_encoder",
        r"CLIP path is required|--i2v requires --image_encoder|image_path should be set for I2V",
        "An image-to-video model needs its image encoder, and each sample prompt a picture. Set CLIP_PATH or "
        "IMAGE_ENCODER_PATH, and write --i FILE into the sample prompts.",
        REQUEST,
    ),
    Cause(
        "persistent_workers",
        r"persistent_workers option needs num_workers > 0",
        "--persistent_data_loader_workers needs workers, and there are none. Leave it out, or raise "
        "DATA_LOADER_WORKERS.",
        REQUEST,
        ("train",),
    ),
    Cause(
        "prompt_file",
        r"cannot access local variable 'prompts'|local variable 'prompts' referenced before",
        "The file of sample prompts is of a kind that the trainer does not read. Name it .txt, .toml or .json.",
        REQUEST,
    ),
)
