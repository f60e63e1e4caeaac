"""Weights that lie on the volume already, and those that only look so."""

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from musabi.serverless.models.found import elsewhere, in_runpods_cache
from musabi.serverless.models.sources import FileSet, sets_of
from peers.model_files import safetensors
from serverless.models.conftest import Bench, choice

Put = Callable[[str, bytes], Path]
ORIGINAL = "diffusion_pipe_working_folder/models"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
WHOLE = safetensors(1000, 1)
CUT = WHOLE[:-1]


def zipped() -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        archive.writestr("data.pkl", b"x" * 500)
    return held.getvalue()


def one_set(model: str, role: str, engine: str = "diffusion_pipe") -> FileSet:
    return next(one for one in sets_of(choice(model, engine)) if one.role == role)


@pytest.mark.parametrize(
    "path", ["sdXL_v10VAEFix.safetensors/sdXL_v10VAEFix.safetensors", "sdXL_v10VAEFix.safetensors"]
)
def test_sdxl_is_found_in_the_folder_that_the_original_named_like_the_file(
    bench: Bench, put: Put, path: str
) -> None:
    sdxl = one_set("sdxl", "checkpoint_path")
    assert elsewhere(sdxl, bench.volume) is None
    place = put(f"{ORIGINAL}/{path}", WHOLE)
    assert elsewhere(sdxl, bench.volume) == place


@pytest.mark.parametrize("path", ["split_files/text_encoders/qwen_3_4b.safetensors", "qwen_3_4b.safetensors"])
def test_z_images_files_are_found_in_the_repos_folders_and_flat(bench: Bench, put: Put, path: str) -> None:
    place = put(f"{ORIGINAL}/z_image/{path}", WHOLE)
    assert elsewhere(one_set("z-image-turbo", "text_encoders"), bench.volume) == place
    assert elsewhere(one_set("z-image", "text_encoder", "musubi"), bench.volume) == place


def test_a_file_that_came_in_part_is_not_found(bench: Bench, put: Put) -> None:
    put(f"{ORIGINAL}/sdXL_v10VAEFix.safetensors", CUT)
    assert elsewhere(one_set("sdxl", "checkpoint_path"), bench.volume) is None


def test_a_shard_that_is_missing_or_cut_spoils_the_set(bench: Bench, put: Put) -> None:
    text = one_set("qwen-image", "text_encoder", "musubi")
    names = [f"{ORIGINAL}/Qwen-Image/text_encoder/model-0000{n}-of-00004.safetensors" for n in range(1, 5)]
    for name in names[:3]:
        put(name, WHOLE)
    assert elsewhere(text, bench.volume) is None
    put(names[3], CUT)
    assert elsewhere(text, bench.volume) is None
    put(names[3], WHOLE)
    assert elsewhere(text, bench.volume) == bench.volume / names[0]


def put_wan(put: Put) -> None:
    folder = f"{ORIGINAL}/Wan/Wan2.1-T2V-14B"
    shards = [f"diffusion_pytorch_model-0000{n}-of-00002.safetensors" for n in (1, 2)]
    index = {"weight_map": {"a": shards[0], "b": shards[1]}}
    put(f"{folder}/diffusion_pytorch_model.safetensors.index.json", json.dumps(index).encode())
    for shard in shards:
        put(f"{folder}/{shard}", WHOLE)
    put(f"{folder}/config.json", b"{}")
    for name in ("models_t5_umt5-xxl-enc-bf16.pth", "Wan2.1_VAE.pth"):
        put(f"{folder}/{name}", zipped())
    put(f"{folder}/google/umt5-xxl/spiece.model", b"words")


def test_a_whole_repo_is_found_as_a_folder(bench: Bench, put: Put) -> None:
    wan = one_set("wan2.1-t2v-14b", "ckpt_path")
    put_wan(put)
    folder = bench.volume / ORIGINAL / "Wan/Wan2.1-T2V-14B"
    assert elsewhere(wan, bench.volume) == folder
    assert elsewhere(one_set("wan2.1-t2v-14b", "vae", "musubi"), bench.volume) == folder / "Wan2.1_VAE.pth"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("models_t5_umt5-xxl-enc-bf16.pth", zipped()[:-30]),
        ("config.json", b'{"dim": '),
        ("diffusion_pytorch_model-00002-of-00002.safetensors", CUT),
        ("google/umt5-xxl/spiece.model", b""),
        (
            "diffusion_pytorch_model.safetensors.index.json",
            json.dumps({"weight_map": {"a": "another.safetensors"}}).encode(),
        ),
    ],
    # A zip holds the time, and every process must collect the same names.
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_repo_with_one_file_in_part_is_not_found(bench: Bench, put: Put, name: str, content: bytes) -> None:
    put_wan(put)
    put(f"{ORIGINAL}/Wan/Wan2.1-T2V-14B/{name}", content)
    assert elsewhere(one_set("wan2.1-t2v-14b", "ckpt_path"), bench.volume) is None


def test_runpods_cache_is_read_through_its_ref(bench: Bench, put: Put) -> None:
    sdxl = one_set("sdxl", "checkpoint_path")
    repo = "huggingface-cache/hub/models--timoshishi--sdXL_v10VAEFix"
    blob = put(f"{repo}/blobs/abc", WHOLE)
    link = bench.volume / repo / "snapshots" / COMMIT / "sdXL_v10VAEFix.safetensors"
    link.parent.mkdir(parents=True)
    link.symlink_to(blob)
    assert in_runpods_cache(sdxl, bench.volume) == link, "the only snapshot, where no ref names one"
    put(f"{repo}/snapshots/{'f' * 40}/sdXL_v10VAEFix.safetensors", WHOLE)
    assert in_runpods_cache(sdxl, bench.volume) is None
    put(f"{repo}/refs/main", f"{COMMIT}\n".encode())
    assert in_runpods_cache(sdxl, bench.volume) == link
    blob.write_bytes(CUT)
    assert in_runpods_cache(sdxl, bench.volume) is None


def test_a_pods_workspace_on_the_same_volume_is_used(bench: Bench, put: Put) -> None:
    place = put("models/vae/ae.safetensors", WHOLE)
    assert elsewhere(one_set("z-image", "vae", "musubi"), bench.volume) == place


def test_turbos_dit_does_not_stand_for_the_base_models(bench: Bench, put: Put) -> None:
    place = put(f"{ORIGINAL}/z_image/z_image_turbo_bf16.safetensors", WHOLE)
    assert elsewhere(one_set("z-image-turbo", "dit", "musubi"), bench.volume) == place
    assert elsewhere(one_set("z-image", "dit", "musubi"), bench.volume) is None
