"""A stand-in for a machine with GPUs: an nvidia-smi that lists them and a driver's file. Nothing can run on them."""

from pathlib import Path

ON_THE_CPU = {
    "EXTRA_TRAIN_ARGS": "--device cpu",
    "EXTRA_SAMPLE_ARGS": "--device cpu",
    "LATENT_DEVICE": "cpu",
    "TEXT_ENCODER_DEVICE": "cpu",
}
"""What keeps the embedded engine off the GPUs that it is told of."""


def standin_gpus(folder: Path, count: int, environment: dict[str, str]) -> dict[str, str]:
    """Return the environment of a machine with `count` GPUs, as far as musabi.machine looks at one."""
    folder.mkdir()
    (folder / "version").write_text("NVRM version: a stand-in\n")
    smi = folder / "nvidia-smi"
    smi.write_text("#!/bin/sh\n" + "echo Stand-in GPU, 81559\n" * count)
    smi.chmod(0o755)
    (folder / "sitecustomize.py").write_text(
        f"import pathlib\nimport musabi.machine\nmusabi.machine.DRIVER = pathlib.Path({str(folder / 'version')!r})\n"
    )
    without = {name: value for name, value in environment.items() if name != "CUDA_VISIBLE_DEVICES"}
    paths = {"PATH": f"{folder}:{environment['PATH']}", "PYTHONPATH": str(folder)}
    return without | ON_THE_CPU | paths
