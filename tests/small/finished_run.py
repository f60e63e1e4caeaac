"""A workspace with a finished run: small LoRA files, samples, a dataset and its prompts."""

import json
import os
from pathlib import Path

from PIL import Image

from musabi.job.record import ProducedFile, RunFolder, RunRecord, RunState

CREATED = 1_760_000_000.0
NAME = "ohwx_v1"


def lora_bytes(size: int, key: str) -> bytes:
    """Return a whole safetensors file with one factor of a LoRA and `size` bytes of it that are like no other."""
    header = json.dumps({key: {"dtype": "U8", "shape": [4, size // 4], "data_offsets": [0, size]}}).encode()
    return len(header).to_bytes(8, "little") + header + os.urandom(size)


def make_run(
    root: Path, size: int = 4000, captions: tuple[str, ...] = ("ohwx woman, a", "ohwx woman, b")
) -> RunFolder:
    """Make a workspace with a finished run: two checkpoints, the final one converted too, samples, a dataset."""
    output, images = root / "output", root / "dataset" / "images"
    for folder in (
        output / "comfyui",
        output / "sample",
        images,
        root / "dataset" / "cache",
        root / "runs" / "run-1",
    ):
        folder.mkdir(parents=True)
    (root / "dataset" / "dataset.toml").write_text(
        f'[general]\nresolution = [64, 64]\ncaption_extension = ".txt"\n[[datasets]]\n'
        f'image_directory = "{images}"\ncache_directory = "{root}/dataset/cache"\n'
    )
    (root / "dataset" / "sample_prompts.txt").write_text(
        "ohwx woman, studio --w 64\nohwx woman, rain --d 4\n"
    )
    for number, caption in enumerate(captions):
        Image.new("RGB", (64, 64), (number, 9, 9)).save(images / f"{number}.png")
        (images / f"{number}.txt").write_text(caption)
    files = [
        _file(
            "checkpoint", output / f"{NAME}-000001.safetensors", lora_bytes(size, "x.lora_down.weight"), 100
        ),
        _file("checkpoint", output / f"{NAME}.safetensors", lora_bytes(size, "x.lora_down.weight"), 200),
        _file(
            "converted", output / "comfyui" / f"{NAME}.safetensors", lora_bytes(size, "x.lora_A.weight"), 210
        ),
    ]
    for epoch in (1, 2):
        for prompt in (0, 1):
            path = output / "sample" / f"{NAME}_e{epoch:06d}_{prompt:02d}_20251009091500_42_000.png"
            Image.new("RGB", (32, 32), (epoch * 40, prompt * 90, 7)).save(path)
            files.append(
                ProducedFile(kind="sample", path=path, size=path.stat().st_size, made=CREATED + epoch)
            )
    run = RunFolder(root / "runs" / "run-1")
    run.save(
        RunRecord(
            id="run-1",
            state=RunState.DONE,
            created=CREATED,
            ended=CREATED + 600,
            job={
                "engine": "musubi", "model": "z-image", "output_name": NAME, "output_dir": str(output),
                "logging_dir": str(root / "logs"), "dataset_config": str(root / "dataset" / "dataset.toml"),
                "sample_prompts": str(root / "dataset" / "sample_prompts.txt"),
                "weights": {"dit": str(root / "models" / "diffusion_pytorch_model-00001-of-00002.safetensors")},
                "network_dim": 4, "network_alpha": 4.0, "optimizer": "prodigy", "seed": 42,
                "extra_train_args": ["--wandb_api_key", "wandbsecretvalue", "--huggingface_token=hf_inline"],
            },
            plan={"schedule": {"steps": 20, "epochs": 2, "steps_per_epoch": 10}, "steps": []},
            versions={"musabi": "0.1.0", "torch": "2.9.1"},
            files=files,
        )
    )  # fmt: skip
    return run


def _file(kind: str, path: Path, content: bytes, made: float) -> ProducedFile:
    path.write_bytes(content)
    return ProducedFile(kind=kind, path=path, size=len(content), made=CREATED + made)
