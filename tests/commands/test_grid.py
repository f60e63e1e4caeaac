"""`musabi grid` and `musabi sample --latents` on the embedded engine and a small model."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from small.space import Space

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("commands")]

PROMPTS = "ohwx robot --w 64 --h 32 --s 1 --l 1 --d 7\na red robot --w 64 --h 64 --s 1 --l 1\n"


def lora(path: Path) -> Path:
    """Write a LoRA of one layer, as it is trained."""
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    name = "lora_unet_layers_0_attention_to_q"
    down, up = torch.randn(4, 64), torch.randn(64, 4)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(
        {f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up, f"{name}.alpha": torch.tensor(4.0)},
        path,
    )
    return path


@pytest.fixture
def trained(empty: Space) -> Space:
    """A workspace with a LoRA and a file of two prompts."""
    lora(empty.output / "demo.safetensors")
    (empty.root / "dataset" / "sample_prompts.txt").write_text(PROMPTS)
    return empty


def pixels(path: str | Path) -> Any:
    import numpy as np
    from PIL import Image

    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"), dtype=int)


def test_a_grid_is_rendered_once_and_kept_latents_decode_to_its_pictures(trained: Space) -> None:
    first: dict[str, Any] = json.loads(trained.ok("grid", "--strengths", "0.5", "--json"))
    assert first["columns"] == ["Final, strength 0.5"] and first["empty"] == []
    assert (first["rendered"], len(first["cells"])) == (2, 2)
    cells = [Path(cell["picture"]) for cell in first["cells"]]
    assert {path.parent for path in cells} == {trained.output / "grid" / "demo"}
    assert [path.name.rsplit("_", 1)[1] for path in cells] == ["7.png", "42.png"]
    assert pixels(trained.output / "grid" / "demo.png").shape[:2] > (256 + 128, 256)

    # Renamed, the LoRA is still known by its content: nothing is rendered again.
    renamed = (trained.output / "demo.safetensors").rename(trained.output / "best.safetensors")
    again = trained.ok("grid", renamed, "--strengths", "0.5", "--output", "again.png", "--cell", "64")
    assert "2 cells, 2 of them kept from before." in again and (trained.root / "again.png").is_file()

    # The same prompts at the same strength as latents, decoded where nothing but the VAE is left.
    kept = json.loads(trained.ok("sample", renamed, "--json", "--strength", "0.5", "--keep-latents"))[
        "samples"
    ]
    assert all(name.endswith("_latent.safetensors") for name in kept) and len(kept) == 2
    models = (trained.root / "models").resolve()
    (trained.root / "models").unlink()
    shutil.copytree(models / "vae", trained.root / "models" / "vae")
    words = [word for name in kept for word in ("--latents", name)]
    decoded = json.loads(trained.ok("sample", "--json", *words, "--folder", trained.root / "new"))["samples"]
    assert [Path(name).parent for name in decoded] == [trained.root / "new"] * 2
    assert abs(pixels(decoded[0]) - pixels(cells[0])).max() <= 1


def test_what_can_not_become_a_grid_is_refused_before_anything_is_rendered(empty: Space) -> None:
    code, message = empty.refused("grid")
    assert code == 2 and "There is no LoRA named demo" in message
    code, message = empty.refused("grid", "--with-base", "--output", "grid.jpg")
    assert code == 2 and "must end in .png" in message
    lora(empty.output / "demo.safetensors")
    code, message = empty.refused("grid", "--strengths", ",".join(f"{n / 100:g}" for n in range(1, 402)))
    assert code == 2 and "are 401 cells" in message
    assert not (empty.output / "grid").exists()


def test_what_holds_no_latents_is_refused(trained: Space) -> None:
    code, message = trained.refused("sample", "--latents", trained.output / "demo.safetensors")
    assert code == 2 and "holds no latents that a sampler kept" in message
    code, message = trained.refused("sample", "demo.safetensors", "--latents", "none.safetensors")
    assert code == 2 and "a LoRA has no effect" in message
    code, message = trained.refused("sample", "--keep-latents", "--set", "model=krea-2", ENGINE="musubi")
    assert code == 2 and "can't keep latents" in message
