"""How soon the trainer trains: wrapper to first optimizer step, against `uv run` with `accelerate launch`.

    MUSUBI_SRC=/path/to/musubi-tuner python bench/start.py [PAIRS]

Makes a workspace with the small model, bootstraps musubi-tuner's environment from that checkout (CPU build
of torch) and starts the same training of one step both ways, in turns. Prints the medians and their ratio,
which is meant to be at most 0.6. MUSUBI_STATE names a folder to keep the environment in. `uv run` is spared
its sync, which would ask all package indexes.
"""

import json
import os
import re
import selectors
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
PATCHES = ROOT / "tests" / "real" / "patches"
TARGET = 0.6
LIMIT_SECONDS = 300.0
FIRST_STEP = re.compile(rb"steps:[^\r\n]*\| 1/")
DATASET = """\
[general]
resolution = [64, 64]
caption_extension = ".txt"
batch_size = 2
enable_bucket = true

[[datasets]]
image_directory = "{root}/dataset/images"
cache_directory = "{root}/dataset/cache"
"""


def environment(root: Path) -> dict[str, str]:
    """Return the environment of both ways: the small model's sizes, no GPU, one thread."""
    made = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "WORKSPACE": str(root),
        "HF_HOME": str(root / ".cache" / "huggingface"),
        "MUSABI_STATE_DIR": os.environ.get("MUSUBI_STATE", str(root / "state")),
        "MUSUBI_PYTHON": f"{sys.version_info.major}.{sys.version_info.minor}",
        "MUSUBI_CUDA_EXTRA": "cpu",
        "MUSUBI_TORCH_VERSION": "2.13.0",
        "MUSUBI_TORCHVISION_VERSION": "0.28.0",
        "MUSUBI_REPO_URL": str(root / "source"),
        "SKIP_MODEL_DOWNLOAD": "1",
        "ENABLE_FP8_LLM": "0",
        "NETWORK_DIM": "4",
        "MAX_TRAIN_EPOCHS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(PATCHES),
        "MUSABI_TINY_SIZES": str(root / "models" / "tiny.json"),
    }
    if "PIP_FIND_LINKS" in os.environ:  # uv reads its own variable only
        made.setdefault("UV_FIND_LINKS", os.environ["PIP_FIND_LINKS"])
    return made


def prepare(root: Path, env: dict[str, str]) -> None:
    """Make everything that both ways find ready: environment, model, pictures, caches."""
    from musabi.engines.diffusers.demo_data import draw_dataset

    source = root / "source"
    subprocess.run(["git", "init", "-q", str(source)], check=True)
    subprocess.run(["cp", "-r", f"{os.environ['MUSUBI_SRC']}/.", str(source)], check=True)
    git = ("git", "-C", str(source), "-c", "user.name=bench", "-c", "user.email=bench@localhost")
    for argv in (("add", "-A"), ("commit", "-q", "--allow-empty", "-m", "v0.3.4"), ("tag", "-f", "v0.3.4")):
        subprocess.run([*git, *argv], check=True, stdout=subprocess.DEVNULL)
    run_wrapper("bootstrap.sh", env)
    run_wrapper("musabi.sh", env | {"PYTHONPATH": ""}, "models", "make-tiny")
    draw_dataset(root / "dataset" / "images", seed=1, count=6, side=64)
    (root / "dataset" / "dataset.toml").write_text(DATASET.format(root=root), encoding="utf-8")
    run_wrapper("prepare_dataset.sh", env)


def run_wrapper(name: str, env: dict[str, str], *arguments: str) -> None:
    subprocess.run([str(ROOT / name), *arguments], env=env, check=True, stdout=subprocess.DEVNULL)


def plan_arguments(env: dict[str, str]) -> list[str]:
    """Return the training script and its arguments as the product plans them."""
    argv = [str(ROOT / "train_lora_prodigy.sh"), "--dry-run", "--json"]
    done = subprocess.run(argv, env=env, check=True, capture_output=True, text=True)
    step = next(step for step in json.loads(done.stdout)["steps"] if step["name"] == "train")
    return list(step["argv"][1:])


def product(root: Path, env: dict[str, str], turn: int) -> float:
    """Return the seconds from the wrapper's start to the first step in the run's log."""
    name = f"product{turn}"
    argv = [str(ROOT / "train_lora_prodigy.sh"), "--json"]
    begun = time.monotonic()
    child = subprocess.Popen(argv, env=env | {"OUTPUT_NAME": name}, stdout=subprocess.DEVNULL)
    try:
        while time.monotonic() - begun < LIMIT_SECONDS:
            log = next((root / "runs").glob(f"{name}-*/log.txt"), None)
            if log is not None and FIRST_STEP.search(log.read_bytes()):
                return time.monotonic() - begun
            if child.poll() not in (None, 0):
                raise RuntimeError("the product's training failed")
            time.sleep(0.01)
    finally:
        child.wait(timeout=LIMIT_SECONDS)
    raise TimeoutError("the product's training took no step")


def launched(root: Path, env: dict[str, str], arguments: list[str], turn: int) -> float:
    """Return the seconds from `uv run accelerate launch` to the first step that it prints."""
    checkout = root / "musubi-tuner"
    output = root / f"launched{turn}"
    replaced = {"--output_dir": str(output), "--logging_dir": str(output / "logs")}
    own = list(arguments)
    for flag, value in replaced.items():
        own[own.index(flag) + 1] = value
    launch = ("accelerate", "launch", "--num_cpu_threads_per_process", "1", "--mixed_precision", "bf16")
    argv = ["uv", "run", "--no-sync", "--project", str(checkout), *launch, *own]
    begun = time.monotonic()
    child = subprocess.Popen(
        argv,
        env=env | {"PYTHONUNBUFFERED": "1", "HF_HUB_OFFLINE": "1"},
        cwd=checkout,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        wait_for_step(child, begun)
        return time.monotonic() - begun
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def wait_for_step(child: "subprocess.Popen[bytes]", begun: float) -> None:
    """Read the child's output until its first step is in it."""
    if child.stdout is None:
        raise RuntimeError("the child was started without a pipe")
    os.set_blocking(child.stdout.fileno(), False)
    seen = b""
    with selectors.DefaultSelector() as selector:
        selector.register(child.stdout, selectors.EVENT_READ)
        while not FIRST_STEP.search(seen):
            if time.monotonic() - begun > LIMIT_SECONDS or child.poll() is not None:
                raise RuntimeError(f"no step was taken: {seen[-2000:].decode(errors='replace')}")
            if selector.select(0.5):
                seen += child.stdout.read() or b""


def main() -> None:
    """Time the pairs and print what came of it."""
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    if "MUSUBI_SRC" not in os.environ:
        sys.exit("Set MUSUBI_SRC to a checkout of musubi-tuner v0.3.4.")
    with tempfile.TemporaryDirectory(prefix="musabi-bench-") as folder:
        root = Path(folder)
        env = environment(root)
        prepare(root, env)
        arguments = plan_arguments(env)
        ours, theirs = [], []
        for turn in range(pairs + 1):
            ours.append(product(root, env, turn))
            theirs.append(launched(root, env, arguments, turn))
            word = "warm-up" if turn == 0 else f"pair {turn}"
            print(
                f"{word}: musabi {ours[-1]:.2f} s, uv run + accelerate launch {theirs[-1]:.2f} s", flush=True
            )
        mine, other = statistics.median(ours[1:]), statistics.median(theirs[1:])
        ratio = statistics.median(a / b for a, b in zip(ours[1:], theirs[1:], strict=True))
    print(f"median of {pairs}: musabi {mine:.2f} s, uv run + accelerate launch {other:.2f} s")
    print(f"ratio {ratio:.2f} (at most {TARGET})")
    if ratio > TARGET:
        sys.exit(1)


if __name__ == "__main__":
    main()
