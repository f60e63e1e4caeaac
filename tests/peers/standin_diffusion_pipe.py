"""A stand-in for diffusion-pipe: a made-up checkout whose train.py and `deepspeed` train nothing.

diffusion-pipe itself can't run without CUDA (it calls torch.cuda in its constructors), so no test here trains with
it. The stand-in reads the TOML files with a strict schema of its own (an unknown key, a wrong type, a missing save
interval or `alpha` is an error), writes the files that diffusion-pipe writes in the order in which it writes them,
prints its log lines and those of DeepSpeed's launcher, obeys `save` and `save_quit`, and resumes. It was written
from the source of tdrussell/diffusion-pipe 8f83dbf and DeepSpeed 0.18.4, and shares no code with the package.

Variables that tests set: STANDIN_STEP_SECONDS, STANDIN_NAN_AT, STANDIN_KILL_AT and STANDIN_TORN_AT (steps),
STANDIN_ERROR (a text raised as an error instead of training), STANDIN_CHECKPOINT_EVERY (steps; the real one counts
minutes).
"""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

from peers.standin_trainer import make_wheel

COMMIT = "8f83dbf25d03219df705570ec03e62be04bc402f"


def write_checkout(checkout: Path) -> Path:
    """Write the stand-in's checkout with its environment; return it."""
    for name in ("submodules/ComfyUI/comfy", "submodules/HunyuanVideo/hyvideo", ".venv/bin"):
        (checkout / name).mkdir(parents=True, exist_ok=True)
    (checkout / "train.py").write_text(TRAIN)
    deepspeed = checkout / ".venv" / "bin" / "deepspeed"
    deepspeed.write_text(f"#!{sys.executable}\n{DEEPSPEED}")
    deepspeed.chmod(0o755)
    python = deepspeed.with_name("python")
    if not python.is_symlink():
        python.symlink_to(sys.executable)
    (checkout / ".venv" / "musabi-diffusion-pipe.json").write_text(
        f'{{"commit": "{COMMIT}", "python": "3.12.12", "torch": "2.9.1+cu128"}}'
    )
    return checkout


DEEPSPEED = r'''
"""Stand-in for DeepSpeed's launcher on one machine."""
import argparse, os, signal, subprocess, sys

parser = argparse.ArgumentParser()
parser.add_argument("--num_gpus", type=int, default=-1)
parser.add_argument("--include", default="")
parser.add_argument("--master_port", type=int, default=29500)
parser.add_argument("script")
parser.add_argument("rest", nargs=argparse.REMAINDER)
args = parser.parse_args()
visible = os.environ.pop("CUDA_VISIBLE_DEVICES", "")
if args.num_gpus > 0 and args.include:
    raise ValueError("Cannot specify num_nodes/gpus with include/exclude")
if visible and args.num_gpus > 0:
    print(f"Detected VISIBLE_DEVICES={visible} but ignoring it because --include or --num_gpus were used.")
if args.include:
    host, _, gpus = args.include.partition(":")
    assert host == "localhost", host
else:
    gpus = ",".join(str(number) for number in range(max(1, args.num_gpus)))
world = gpus.split(",")
env = dict(os.environ, CUDA_VISIBLE_DEVICES=gpus, MASTER_ADDR="127.0.0.1", MASTER_PORT=str(args.master_port),
           WORLD_SIZE=str(len(world)), RANK="0", LOCAL_RANK="0")
cmd = [sys.executable, "-u", args.script, "--local_rank=0", *args.rest]
process = subprocess.Popen(cmd, env=env)
print(f"[INFO] [launch.py:272:main] process {process.pid} spawned with command: {cmd}", flush=True)


def end(number, frame):
    process.kill()
    sys.exit(1)


signal.signal(signal.SIGTERM, end)
signal.signal(signal.SIGINT, end)
code = process.wait()
if code != 0:
    print(f"[ERROR] [launch.py:341:sigkill_handler] {cmd} exits with return code = {code}", flush=True)
    sys.exit(code if code > 0 else 256 + code)
print(f"[INFO] [launch.py:367:main] Process {process.pid} exits successfully.", flush=True)
'''

TRAIN = r'''
"""Stand-in for diffusion-pipe's train.py: no model, no GPU."""
import argparse, datetime, json, os, shutil, signal, socket, struct, sys, time, tomllib, zipfile
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("--config", required=True)
parser.add_argument("--local_rank", type=int, default=-1)
parser.add_argument("--resume_from_checkpoint", nargs="?", const=True, default=None)
parser.add_argument("--master_port", type=int, default=29500)
parser.add_argument("--deepspeed", action="store_true")
args = parser.parse_args()

STEP_SECONDS = float(os.environ.get("STANDIN_STEP_SECONDS", "0"))
NAN_AT, KILL_AT, TORN_AT, CHECKPOINT_EVERY = (
    int(os.environ.get(f"STANDIN_{name}", "0")) for name in ("NAN_AT", "KILL_AT", "TORN_AT", "CHECKPOINT_EVERY")
)
DTYPES = {"float32", "float16", "bfloat16", "float8", "float8_e4m3fn", "float8_e5m2"}


def fail(text):
    raise SystemExit(f"standin schema: {text}")


def number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def whole(value):
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def positive(value):
    return whole(value) and value > 0


def numbers(value):
    """The `toml` package takes no arrays of mixed types."""
    return isinstance(value, list) and value and len({type(entry) for entry in value}) == 1


def text(*choices):
    return lambda value: isinstance(value, str) and (not choices or value in choices)


def existing(value):
    return isinstance(value, str) and Path(value).is_absolute() and Path(value).exists()


def flag(value):
    return isinstance(value, bool)


def batch(value):
    return positive(value) or (isinstance(value, list) and all(len(pair) == 2 for pair in value))


def encoders(value):
    return isinstance(value, list) and all(
        set(entry) == {"path", "type"} and existing(entry["path"]) for entry in value
    )


dtype = text(*DTYPES)
ROOT = {
    "output_dir": existing, "dataset": existing, "epochs": positive, "max_steps": positive,
    "micro_batch_size_per_gpu": batch, "image_micro_batch_size_per_gpu": batch, "pipeline_stages": positive,
    "gradient_accumulation_steps": positive, "gradient_clipping": number, "warmup_steps": whole,
    "lr_scheduler": text("constant", "linear", "cosine"), "force_constant_lr": number, "blocks_to_swap": whole,
    "save_every_n_epochs": positive, "checkpoint_every_n_minutes": number, "checkpoint_every_n_epochs": positive,
    "activation_checkpointing": lambda value: value is True or value is False or value == "unsloth",
    "partition_method": text(), "save_dtype": dtype, "caching_batch_size": positive, "steps_per_print": positive,
    "video_clip_mode": text("single_beginning", "single_middle"), "eval_every_n_epochs": positive,
    "eval_before_first_step": flag, "compile": flag, "uncond_fraction": number, "huber_delta": number,
    "model": lambda value: isinstance(value, dict), "adapter": lambda value: isinstance(value, dict),
    "optimizer": lambda value: isinstance(value, dict),
}
TIMESTEPS = {"timestep_sample_method": text("logit_normal", "uniform"), "sigmoid_scale": number, "shift": number,
             "flux_shift": flag}
MODELS = {
    "sdxl": ({"checkpoint_path": existing, "dtype": dtype},
             {"v_pred": flag, "min_snr_gamma": number, "debiased_estimation_loss": flag, "unet_lr": number,
              "text_encoder_1_lr": number, "text_encoder_2_lr": number}),
    "flux": ({"diffusers_path": existing, "dtype": dtype},
             {"transformer_path": existing, "transformer_dtype": dtype, "guidance": number,
              "bypass_guidance_embedding": flag, **TIMESTEPS}),
    "wan": ({"ckpt_path": existing, "dtype": dtype},
            {"transformer_path": existing, "llm_path": existing, "transformer_dtype": dtype, "min_t": number,
             "max_t": number, "text_encoder_fp8": flag, "cache_text_embeddings": flag, **TIMESTEPS}),
    "qwen_image": ({"dtype": dtype},
                   {"diffusers_path": existing, "transformer_path": existing, "text_encoder_path": existing,
                    "vae_path": existing, "transformer_dtype": dtype, **TIMESTEPS}),
    "z_image": ({"diffusion_model": existing, "vae": existing, "text_encoders": encoders, "dtype": dtype},
                {"merge_adapters": lambda value: all(existing(path) for path in value),
                 "diffusion_model_dtype": dtype, **TIMESTEPS}),
}
ADAPTER = {"type": text("lora"), "rank": positive, "dtype": dtype, "dropout": number, "exclude_modules": numbers}
DATASET = {
    "resolutions": numbers, "enable_ar_bucket": flag, "min_ar": number, "max_ar": number, "num_ar_buckets": positive,
    "ar_buckets": numbers, "frame_buckets": numbers, "skip_empty_caption": flag, "shuffle_tags": flag,
    "cache_shuffle_num": whole, "cache_shuffle_delimiter": text(), "directory": lambda value: isinstance(value, list),
}
DIRECTORY = {"path": existing, "num_repeats": positive}


def check(name, values, known, required):
    for key in required:
        if key not in values:
            raise KeyError(key)
    for key, value in values.items():
        if key not in known:
            fail(f"{name} has no key {key}")
        if not known[key](value):
            fail(f"{name}.{key} can't be {value!r}")


with open(args.config, "rb") as file:
    config = tomllib.load(file)
assert 'save_every_n_epochs' in config or 'save_every_n_steps' in config or 'save_every_n_examples' in config
check("root", config, ROOT, ("output_dir", "dataset", "epochs", "model", "optimizer"))
model = dict(config["model"])
kind = model.pop("type")
if kind not in MODELS:
    raise NotImplementedError(f"Model type {kind} is not implemented")
check("model", model, {**MODELS[kind][0], **MODELS[kind][1]}, MODELS[kind][0])
if "alpha" in config["adapter"]:
    raise NotImplementedError("This script forces alpha=rank to make the saved adapter format simpler")
check("adapter", config["adapter"], ADAPTER, ("type", "rank"))
for key, value in config["optimizer"].items():
    if key in ("betas",) and not (numbers(value) and len(value) == 2 and isinstance(value[0], float)):
        fail(f"optimizer.{key} can't be {value!r}")
with open(config["dataset"], "rb") as file:
    dataset = tomllib.load(file)
check("dataset", dataset, DATASET, ("directory", "resolutions"))
if "ar_buckets" not in dataset:
    dataset["min_ar"], dataset["max_ar"], dataset["num_ar_buckets"]

for name in ("NCCL_P2P_DISABLE", "NCCL_IB_DISABLE"):
    assert os.environ.get(name) == "1", name
store = socket.socket()
store.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
store.bind(("", args.master_port))
store.listen()
print(f"standin: port {args.master_port}, GPUs {os.environ['CUDA_VISIBLE_DEVICES']}")

MEDIA = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".mp4", ".mov", ".mkv", ".webm", ".avi"}
accumulated = config.get("gradient_accumulation_steps", 1)
size = config.get("micro_batch_size_per_gpu", 1) * accumulated
steps_per_epoch = 0
for directory in dataset["directory"]:
    check("directory", directory, DIRECTORY, ("path",))
    folder = Path(directory["path"])
    files = [path for path in folder.iterdir() if path.suffix.lower() in MEDIA]
    assert files, f"Directory {folder} had no images/videos!"
    captions = [path.with_suffix(".txt") for path in files]
    captioned = [path for path in captions if path.exists() and path.read_text().strip()]
    print(f"caching latents: {folder}")
    print(f"caching text embeddings: {folder}")
    whole_batches = len(captioned) * directory.get("num_repeats", 1) // size
    if not whole_batches:
        print("[WARNING] size bucket (64, 64, 1) is being completely dropped because it doesn't have enough images")
    steps_per_epoch += whole_batches
if not steps_per_epoch:
    raise RuntimeError("Processed dataset was empty. Probably caused by rounding down for each size bucket.")
if os.environ.get("STANDIN_ERROR"):
    raise RuntimeError(os.environ["STANDIN_ERROR"])

output = Path(config["output_dir"])
step, epoch = 1, 1
if args.resume_from_checkpoint:
    assert isinstance(args.resume_from_checkpoint, str)
    run = output / args.resume_from_checkpoint
    tag = (run / "latest").read_text().strip()
    with zipfile.ZipFile(run / tag / "mp_rank_00_model_states.pt") as archive:
        state = json.loads(archive.read("state.json"))
    step, epoch = state["step"] + 1, state["epoch"]
else:
    run = output / datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%d_%H-%M-%S")
run.mkdir(exist_ok=True)
if not args.resume_from_checkpoint:
    shutil.copy(args.config, run)
    shutil.copy(config["dataset"], run)
print(f"Global batch size = {size}")
if args.resume_from_checkpoint:
    print(f"Resuming training from checkpoint. Resuming at epoch: {epoch}, step: {step}")

RESULT = {"sdxl": ("lora.safetensors", "lora_unet_{}", "lora_down.weight", "lora_up.weight"),
          "flux": ("pytorch_lora_weights.safetensors", "transformer.{}", "lora_A.weight", "lora_B.weight")}.get(
    kind, ("adapter_model.safetensors", "diffusion_model.{}", "lora_A.weight", "lora_B.weight"))


def write_lora(path, rank):
    """A real safetensors file: two layers, float32."""
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for block in range(2):
        layer = RESULT[1].format(f"blocks.{block}.attn.to_q" if kind != "sdxl" else f"down_blocks_{block}_attn_to_q")
        for name, shape in ((RESULT[2], [rank, 4]), (RESULT[3], [4, rank])):
            header[f"{layer}.{name}"] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + 16 * rank]}
            at += 16 * rank
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(at))


def save_model(name):
    print(f"Saving model to directory {name}")
    folder = run / name
    os.makedirs(folder / "tmp", exist_ok=False)
    if RESULT[0].startswith("adapter"):
        (folder / "adapter_config.json").write_text(json.dumps(
            {"peft_type": "LORA", "r": config["adapter"]["rank"], "lora_alpha": config["adapter"]["rank"],
             "base_model_name_or_path": "/made/up", "target_modules": ["blocks.0.attn.to_q", "blocks.1.attn.to_q"]}))
    write_lora(folder / RESULT[0], config["adapter"]["rank"])
    shutil.copy(args.config, folder)
    shutil.rmtree(folder / "tmp")


def save_checkpoint():
    folder = run / f"global_step{step}"
    folder.mkdir(exist_ok=True)
    if step == TORN_AT:
        (folder / "mp_rank_00_model_states.pt").write_bytes(b"PK torn")
        os.kill(os.getpid(), signal.SIGKILL)
    for name in ("layer_00-model_states.pt", "mp_rank_00_model_states.pt"):
        with zipfile.ZipFile(folder / name, "w") as archive:
            archive.writestr("state.json", json.dumps({"step": step, "epoch": epoch}))
    (run / "latest").write_text(f"global_step{step}")


last_checkpoint = time.time()
minutes = config.get("checkpoint_every_n_minutes")
while True:
    time.sleep(STEP_SECONDS)
    if step == KILL_AT:
        os.kill(os.getpid(), signal.SIGKILL)
    loss = float("nan") if NAN_AT and step >= NAN_AT else 0.1 + 0.01 * (step % 3)
    print(f"steps: {step} loss: {loss:0.4f} iter time (s): {STEP_SECONDS:0.3f} samples/sec: {size:0.3f}")
    saved = checkpointed = False
    if step % steps_per_epoch == 0:
        if epoch % config.get("checkpoint_every_n_epochs", 10**9) == 0:
            save_checkpoint()
            checkpointed = True
        if epoch % config["save_every_n_epochs"] == 0:
            save_model(f"epoch{epoch}")
            saved = True
        epoch += 1
        if epoch > config["epochs"]:
            last = f"epoch{epoch - 1}"
            break
        print(f"Started new epoch: {epoch}")
    saved = checkpointed = False
    quits = (run / "save_quit").exists()
    if quits or (run / "save").exists():
        (run / ("save_quit" if quits else "save")).unlink()
    due = minutes is not None and (time.time() - last_checkpoint) / 60 > minutes
    if quits or due or (CHECKPOINT_EVERY and step % CHECKPOINT_EVERY == 0):
        save_checkpoint()
        checkpointed, last_checkpoint = True, time.time()
    if quits:
        print("Manually quitting")
        sys.exit()
    if step >= config.get("max_steps", 10**9):
        last = f"step{step}"
        break
    step += 1
if not checkpointed:
    save_checkpoint()
if not saved:
    save_model(last)
print("TRAINING COMPLETE!")
'''


def make_repository(folder: Path) -> tuple[str, str]:
    """Make diffusion-pipe's git repository with its two submodules; return its address and commit."""
    modules = {"submodules/ComfyUI": "comfy/sd.py", "submodules/HunyuanVideo": "hyvideo/constants.py"}
    main = folder / "diffusion-pipe"
    main.mkdir(parents=True)
    (main / "train.py").write_text(TRAIN)
    (main / "requirements.txt").write_text(
        "deepspeed==0.18.4\npeft\ndiffusers>=0.35.1\ntorch-optimi\nbitsandbytes\n"
    )
    _git(main, "init", "--quiet", "--initial-branch", "main")
    for path, file in modules.items():
        other = folder / Path(path).name
        (other / file).parent.mkdir(parents=True)
        (other / file).write_text("")
        _git(other, "init", "--quiet", "--initial-branch", "main")
        _git(other, "add", "-A")
        _git(other, "commit", "--quiet", "-m", "a submodule")
        _git(other, "config", "uploadpack.allowAnySHA1InWant", "true")
        _git(main, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", other.as_uri(), path)
    _git(main, "add", "-A")
    _git(main, "commit", "--quiet", "-m", "the commit")
    _git(main, "config", "uploadpack.allowAnySHA1InWant", "true")
    return main.as_uri(), _git(main, "rev-parse", "HEAD")


def _git(folder: Path, *argv: str) -> str:
    who = ("-c", "user.name=t", "-c", "user.email=t@localhost", "-c", "commit.gpgsign=false")
    environment = os.environ | {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    command = ["git", *who, "-C", str(folder), *argv]
    return subprocess.check_output(command, text=True, env=environment, timeout=60).strip()


def make_packages(folder: Path, broken: str = "") -> None:
    """Lay out what diffusion-pipe's environment is made of: PyTorch's index in torch/, all others in packages/.

    `broken` names a module that fails at import.
    """
    error = "raise OSError('libcudart.so.12: cannot open shared object file')\n"
    torch = {"torch": "2.9.1+cu128", "torchvision": "0.24.1+cu128", "torchaudio": "2.9.1+cu128"}
    others = {"deepspeed": "deepspeed", "peft": "peft", "diffusers": "diffusers", "torch-optimi": "optimi"}
    for name, version in torch.items():
        make_wheel(folder / "cu128" / name, name, version, name, error if name == broken else "")
    for name, module in (others | {"bitsandbytes": "bitsandbytes"}).items():
        version = {"deepspeed": "0.18.4", "diffusers": "0.36.0"}.get(name, "1.0")
        scripts = {"deepspeed": "deepspeed"} if name == "deepspeed" else {}
        place = make_wheel(
            folder / "packages" / name,
            name,
            version,
            module,
            error if module == broken else "def main(): pass\n",
        )
        if scripts:
            _add_script(place, name, version, module)


def _add_script(wheel: Path, name: str, version: str, module: str) -> None:
    with zipfile.ZipFile(wheel, "a") as archive:
        entry = f"[console_scripts]\n{name} = {module}:main\n"
        archive.writestr(f"{name}-{version}.dist-info/entry_points.txt", entry)
