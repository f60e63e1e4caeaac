"""The newest converted LoRA: whether ComfyUI will find its keys."""

import re
from pathlib import Path

from musabi.errors import RequestError
from musabi.job.lora_file import read_lora
from musabi.pod.doctor.finding import Finding, finding, ok
from musabi.pod.doctor.scene import Scene
from musabi.whole import safetensors_header

# ComfyUI reads a LoRA's keys as diffusion_model.PATH.lora_A.weight and .lora_B.weight, alpha folded in
# (convert_lora.py --target other of musubi-tuner v0.3.4).
KEY = re.compile(r"diffusion_model\.(?P<module>[\w.]+)\.lora_(?P<factor>[AB])\.weight")


def look(scene: Scene) -> list[Finding]:
    """Look at the newest file of OUTPUT_DIR/comfyui; nothing is to be said where there is none."""
    newest = newest_converted(scene.settings.output_dir / "comfyui")
    return [ok("output.none", "no converted LoRA yet")] if newest is None else [judge(newest)]


def newest_converted(folder: Path) -> Path | None:
    """Return the newest LoRA of a folder."""
    files = [path for path in folder.glob("*.safetensors") if not path.name.startswith(".")]
    return max(files, key=lambda path: path.stat().st_mtime, default=None)


def judge(path: Path) -> Finding:
    """Return what is to be said of a converted LoRA, from its header."""
    try:
        lora = read_lora(path)
    except RequestError:
        return finding("output.broken", file=path.name)
    if lora.keys == "native":
        if _is_read_as_trained(path):
            return ok("output.keys", f"{path.name} is read by ComfyUI as it was trained (rank {lora.rank})")
        return finding("output.native", file=path.name)
    header = safetensors_header(path)
    keys = [key for key in (header[1] if header else ()) if key != "__metadata__"]
    odd = odd_keys(keys)
    if odd:
        return finding("output.odd", file=path.name, count=len(odd), total=len(keys), key=odd[0])
    return ok("output.keys", f"{path.name} has ComfyUI's keys (rank {lora.rank}, {len(keys) // 2} modules)")


def _is_read_as_trained(path: Path) -> bool:
    """Tell whether the LoRA belongs to a model whose LoRAs ComfyUI reads as they were trained."""
    from musabi.lora.adapter import read_adapter
    from musabi.lora.models import candidates
    from musabi.recipes.lora_models import known_models

    try:
        fitting = candidates(read_adapter(path), known_models())
    except RequestError:
        return False
    return any(model.form == "native" for model in fitting)


def odd_keys(keys: list[str]) -> list[str]:
    """Return the keys that ComfyUI would leave out: of another form, or one factor without the other."""
    matches = {key: KEY.fullmatch(key) for key in keys}
    factors = {(match["module"], match["factor"]) for match in matches.values() if match}
    other = {"A": "B", "B": "A"}
    return [
        key
        for key, match in matches.items()
        if match is None or (match["module"], other[match["factor"]]) not in factors
    ]
