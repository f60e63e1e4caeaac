"""Every documented parameter of training, and what becomes of it with each trainer: docs/endpoint_parameters.md."""

from dataclasses import dataclass, field

from musabi.engines.diffusion_pipe.keys import Table
from musabi.serverless.parts import EngineOfJob
from musabi.serverless.request.fields import Dataset, Part, Training
from musabi.serverless.request.optimizers import OPTIMIZERS

NO_EVALUATION = "there is no evaluation dataset"
ONE_GPU = "a job has one GPU"
WITH_EACH_LORA = "states are saved with each LoRA"


@dataclass(frozen=True)
class Parameter:
    """One parameter. `row` is the setting that it becomes for musabi run, `place` diffusion-pipe's table and key.

    `musubi` and `pipe` say it in words where there is more to it. `idle` are the engines on which it has no effect,
    each with why. `only_given`: without it in the request the trainer chooses, not the default.
    """

    name: str
    row: str = ""
    place: tuple[Table, str] | None = None
    musubi: str = ""
    pipe: str = ""
    idle: dict[EngineOfJob, str] = field(default_factory=dict)
    only_given: bool = False


def _idle(why: str, *engines: EngineOfJob) -> dict[EngineOfJob, str]:
    return dict.fromkeys(engines, why)


PARAMETERS = (
    Parameter("epochs", "max_train_epochs", pipe="`epochs`"),
    Parameter(
        "learning_rate", "learning_rate", ("optimizer", "lr"), "`learning_rate`; prodigy: 1.0 unless given"
    ),
    Parameter(
        "batch_size", place=("root", "micro_batch_size_per_gpu"), musubi="`batch_size` of the dataset TOML"
    ),
    Parameter(
        "gradient_accumulation_steps",
        place=("root", "gradient_accumulation_steps"),
        musubi="`--gradient_accumulation_steps`; steps count optimizer steps",
        idle=_idle("each batch is a step", "diffusers"),
    ),
    Parameter("gradient_clipping", place=("root", "gradient_clipping"), musubi="`--max_grad_norm`"),
    Parameter(
        "warmup_steps",
        place=("root", "warmup_steps"),
        musubi="`--lr_warmup_steps` with `--lr_scheduler constant_with_warmup`; prodigy: only where given",
    ),
    Parameter(
        "lora_rank",
        "network_dim",
        ("adapter", "rank"),
        "`network_dim`, and `network_alpha` is the same number",
    ),
    Parameter(
        "lora_dtype",
        place=("adapter", "dtype"),
        idle=_idle("the LoRA is trained in float32", "musubi", "diffusers"),
    ),
    Parameter("save_every_n_epochs", "save_every_n_epochs", pipe="`save_every_n_epochs`"),
    Parameter(
        "checkpoint_every_n_minutes",
        pipe="`checkpoint_every_n_minutes`",
        idle=_idle(WITH_EACH_LORA, "musubi", "diffusers"),
    ),
    Parameter("save_dtype", "save_precision", ("root", "save_dtype")),
    Parameter(
        "optimizer_type", "optimizer", ("optimizer", "type"), "`optimizer`, or `--optimizer_type`: see below"
    ),
    Parameter("optimizer_betas", place=("optimizer", "betas"), musubi="`--optimizer_args betas=...`"),
    Parameter(
        "optimizer_weight_decay",
        place=("optimizer", "weight_decay"),
        musubi="`--optimizer_args weight_decay=...`",
    ),
    Parameter("optimizer_eps", place=("optimizer", "eps"), musubi="`--optimizer_args eps=...`"),
    Parameter("video_clip_mode", musubi="the clips are cut beforehand", pipe="the clips are cut beforehand"),
    Parameter(
        "frame_buckets",
        place=("dataset", "frame_buckets"),
        musubi="clips are cut to the largest length that fits; 1 stands for pictures",
        pipe="`frame_buckets`, and clips are cut to the largest that fits",
    ),
    Parameter(
        "resolution",
        place=("dataset", "resolutions"),
        musubi="`resolution` of the dataset TOML; videos: the model's own where it is left out",
        pipe="`resolutions`; videos: the model's own where it is left out",
    ),
    Parameter(
        "activation_checkpointing",
        "gradient_checkpointing",
        ("root", "activation_checkpointing"),
        '`gradient_checkpointing` where given, else what fits; "unsloth" adds '
        "`--gradient_checkpointing_cpu_offload`",
        only_given=True,
    ),
    Parameter("caching_batch_size", "latent_batch_size", ("root", "caching_batch_size")),
    *(
        Parameter(name, idle=_idle(NO_EVALUATION, "musubi", "diffusers", "diffusion_pipe"))
        for name in (
            "eval_every_n_epochs",
            "eval_before_first_step",
            "eval_micro_batch_size_per_gpu",
            "eval_gradient_accumulation_steps",
        )
    ),
    Parameter(
        "partition_method",
        place=("root", "partition_method"),
        idle=_idle(ONE_GPU, "musubi", "diffusers"),
    ),
    Parameter(
        "pipeline_stages", place=("root", "pipeline_stages"), idle=_idle(ONE_GPU, "musubi", "diffusers")
    ),
    Parameter(
        "steps_per_print",
        place=("root", "steps_per_print"),
        idle=_idle("every step is told", "musubi", "diffusers"),
    ),
    Parameter(
        "model_dtype",
        place=("model", "dtype"),
        idle=_idle("the model decides it", "musubi", "diffusers"),
    ),
    Parameter(
        "transformer_dtype",
        "dit_precision",
        ("model", "transformer_dtype"),
        "`dit_precision`: bf16 or fp8 where the model can be held so",
        "`transformer_dtype`; float8 for flux and qwen where left out",
        _idle("the model decides it", "diffusers"),
        only_given=True,
    ),
    Parameter("lr_scheduler", place=("root", "lr_scheduler"), musubi="`--lr_scheduler`", only_given=True),
    Parameter("max_steps", "max_train_steps", ("root", "max_steps"), only_given=True),
    Parameter("seed", "seed", idle=_idle("it has no such setting", "diffusion_pipe"), only_given=True),
    Parameter(
        "blocks_to_swap",
        "blocks_to_swap",
        ("root", "blocks_to_swap"),
        idle=_idle("it can't swap blocks", "diffusers"),
        only_given=True,
    ),
    Parameter(
        "compile",
        "compile",
        ("root", "compile"),
        idle=_idle("it can't compile the model", "diffusers"),
        only_given=True,
    ),
)

REPEATS = (
    Parameter("image_repeats", musubi="`num_repeats` of the images", pipe="`num_repeats` of the images"),
    Parameter("video_repeats", musubi="`num_repeats` of the clips", pipe="`num_repeats` of the clips"),
)


def markdown() -> str:
    """Return the tables of docs/endpoint_parameters.md: the parameters, then the optimizers."""
    lines = [
        "| Parameter | Default | It must be | With musubi-tuner | With diffusion-pipe |",
        "|---|---|---|---|---|",
        *(_line(Training, one) for one in PARAMETERS),
        *(_line(Dataset, one) for one in REPEATS),
        "",
        "| `optimizer_type` | musubi-tuner | diffusion-pipe | Parameters it takes |",
        "|---|---|---|---|",
        *(
            f"| `{name}` | {_code(one.row or one.flag)} | {_code(one.pipe)} | {', '.join(one.takes)} |"
            for name, one in OPTIMIZERS.items()
        ),
    ]
    return "\n".join(lines) + "\n"


def _line(part: type[Part], one: Parameter) -> str:
    known = part.model_fields[one.name]
    default = "not set" if known.default is None else _written(known.default)
    cells = (
        f"`{part.__name__.lower()}.{one.name}`",
        default,
        str(known.description),
        _musubi(one),
        _pipe(one),
    )
    return f"| {' | '.join(cells)} |"


def _code(name: str | None) -> str:
    return f"`{name}`" if name else "no"


def _written(value: object) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(str, value))}]"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _musubi(one: Parameter) -> str:
    said = one.musubi or (f"`{one.row}`" if one.row else "")
    return said or f"no effect: {one.idle['musubi']}"


def _pipe(one: Parameter) -> str:
    if "diffusion_pipe" in one.idle:
        return f"no effect: {one.idle['diffusion_pipe']}"
    if one.pipe or one.place is None:
        return one.pipe
    table, key = one.place
    return f"`{key}`" if table == "root" else f"`{key}` in its table of the {table}"
