"""Trains a Z-Image LoRA: `python -m musabi.engines.diffusers.train --help`.

Flags are named as musubi-tuner names them. SIGTERM finishes the current step, saves a state named after
it and ends with 143.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from musabi.engines.diffusers.process import Arguments, StopFlag, emit, run
from musabi.errors import RequestError
from musabi.job.events import Event

PHASE: Final = "train"
PRECISIONS = ("bf16", "fp16", "float", "fp32")


def arguments() -> Arguments:
    """Return the parser."""
    parser = Arguments("train", "Train a Z-Image LoRA.")
    add = parser.add_argument
    add("--dit", type=Path, required=True, help="the transformer's first shard or single file")
    add("--vae", type=Path, help="needed for samples")
    add("--text_encoder", type=Path, help="needed for samples")
    add("--dataset_config", type=Path, required=True)
    add("--network_dim", type=int, default=4, help="the LoRA's rank")
    add("--network_alpha", type=float, default=1.0)
    add("--optimizer_type", required=True)
    add("--optimizer_args", nargs="*", default=[], metavar="NAME=VALUE")
    add("--learning_rate", type=float, default=1e-4)
    add("--lr_scheduler", default="constant")
    add("--lr_warmup_steps", type=int, default=0)
    add("--lr_scheduler_num_cycles", type=int, default=1)
    add("--max_train_epochs", type=int)
    add("--max_train_steps", type=int, help="ends the run earlier than its epochs would")
    add("--max_grad_norm", type=float, default=1.0)
    add("--discrete_flow_shift", type=float, default=2.0)
    add("--sigmoid_scale", type=float, default=1.0)
    add("--gradient_checkpointing", action="store_true")
    add("--save_every_n_epochs", type=int)
    add("--save_state_every_n_epochs", type=int)
    add("--save_precision", choices=PRECISIONS, default="float")
    add("--sample_prompts", type=Path)
    add("--sample_every_n_epochs", type=int)
    add("--output_dir", type=Path, required=True)
    add("--output_name", required=True)
    add("--logging_dir", type=Path)
    add("--log_prefix", default="")
    add("--seed", type=int, default=42)
    add("--resume", type=Path, help="a -state folder; the lengths above stay those of the whole run")
    add("--device", help="a torch device; the GPU where there is one")
    return parser


def main(argv: Sequence[str]) -> int:
    """Load, train, save. Return the exit code."""
    stop = StopFlag()
    stop.listen()
    args = arguments().read(argv)
    if args.max_train_epochs is None and args.max_train_steps is None:
        raise RequestError("The training has no length. Pass --max_train_epochs or --max_train_steps.")
    trainer = _prepare(args, stop)
    if stop.signal is not None:
        emit(Event(phase=PHASE, message="Stopped before the first step: there is nothing to save."))
        return stop.exit_code
    code: int = trainer.run()
    return code


def _prepare(args: Any, stop: StopFlag) -> Any:  # noqa: ANN401 - argparse.Namespace, Trainer
    """Return the trainer, with everything loaded; the cheap checks come first."""
    from musabi.dataset.config import read_config
    from musabi.engines.diffusers import loading, state, trainer
    from musabi.engines.diffusers.batches import Batches
    from musabi.engines.diffusers.logs import Logs

    config = read_config(args.dataset_config)
    data = Batches(config, args.seed)
    length = _length(args, data.per_epoch)
    args.output_dir.mkdir(parents=True, exist_ok=True)
    state.remove_leftovers(args.output_dir, args.output_name)
    device = loading.device_for(args.device)
    prompts = _embed_prompts(args, device)
    model = loading.load_transformer(args.dit, device, loading.dtype_for(device))
    training, facts = _training(args, model, length, data.per_epoch, device)
    emit(
        Event(
            phase=PHASE,
            message=f"Training on {data.items} images: {data.per_epoch} steps an epoch, {length.epochs} epochs, "
            f"{length.steps} steps, on {device.type}.",
        )
    )
    facts |= {
        "ss_num_train_items": data.items,
        "ss_num_batches_per_epoch": data.per_epoch,
        "ss_num_epochs": length.epochs,
        "ss_max_train_steps": length.steps,
        "ss_mixed_precision": "bf16" if device.type == "cuda" else "no",
    }
    progress = state.load_state(args.resume, training) if args.resume else state.Progress()
    made = trainer.Trainer(
        model,
        training,
        data,
        length,
        trainer.Recipe(args.discrete_flow_shift, args.sigmoid_scale, args.max_grad_norm),
        _output(args, config, facts),
        Logs(args.logging_dir, args.log_prefix),
        _sampler(args, prompts, model, device),
        stop,
        args.seed,
    )
    made.progress = progress
    return made


def _length(args: Any, per_epoch: int) -> Any:  # noqa: ANN401
    from musabi.engines.diffusers.trainer import Length

    epochs = args.max_train_epochs or -(-args.max_train_steps // per_epoch)
    steps = min(epochs * per_epoch, args.max_train_steps or epochs * per_epoch)
    return Length(
        steps, epochs, args.save_every_n_epochs, args.save_state_every_n_epochs, args.sample_every_n_epochs
    )


def _embed_prompts(args: Any, device: Any) -> list[Any]:  # noqa: ANN401
    """Encode the sample prompts before the transformer needs the memory."""
    if not args.sample_every_n_epochs or args.sample_prompts is None:
        return []
    if args.vae is None or args.text_encoder is None:
        raise RequestError("Samples need --vae and --text_encoder.")
    from musabi.dataset.prompts import read_prompts
    from musabi.engines.diffusers import rendering

    return rendering.embed(read_prompts(args.sample_prompts), args.text_encoder, device)


def _sampler(args: Any, prompts: list[Any], model: Any, device: Any) -> Any:  # noqa: ANN401
    if not prompts:
        return None
    from musabi.engines.diffusers import loading, rendering, trainer

    return trainer.Sampler(rendering.make_pipeline(model, loading.load_vae(args.vae, device)), prompts)


def _training(args: Any, model: Any, length: Any, per_epoch: int, device: Any) -> tuple[Any, dict[str, Any]]:  # noqa: ANN401
    """Add the LoRA and make the optimizer and its schedule; return them with what the metadata says of them."""
    import torch

    from musabi.engines.diffusers import optimizers, state
    from musabi.engines.diffusers.lora import Network

    network = Network(model, args.network_dim, args.network_alpha, args.seed)
    if args.gradient_checkpointing:
        model.enable_gradient_checkpointing()
    optimizer, name, note = optimizers.make_optimizer(
        args.optimizer_type, network.parameters(), args.learning_rate, args.optimizer_args, device
    )
    if note:
        emit(Event(phase=PHASE, message=note))
    schedule = optimizers.make_schedule(
        args.lr_scheduler, optimizer, args.lr_warmup_steps, length.steps, args.lr_scheduler_num_cycles
    )
    identity = {
        "optimizer": type(optimizer).__name__,
        "number of steps an epoch": per_epoch,
        "NETWORK_DIM": args.network_dim,
        "NETWORK_ALPHA": args.network_alpha,
        "SEED": args.seed,
    }
    noise = torch.Generator().manual_seed(args.seed)
    return state.Training(network, optimizer, schedule, noise, identity), {"ss_optimizer": name}


def _output(args: Any, config: Any, facts: dict[str, Any]) -> Any:  # noqa: ANN401
    import random

    from musabi.engines.diffusers import metadata, trainer

    facts = {"ss_session_id": random.SystemRandom().getrandbits(32), **facts}
    return trainer.Output(
        args.output_dir,
        args.output_name,
        trainer.precision(args.save_precision),
        metadata.training_metadata(args, config, facts),
    )


if __name__ == "__main__":
    run(PHASE, main)
