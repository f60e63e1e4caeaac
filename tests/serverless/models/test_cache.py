"""The weights of a job: found or fetched, by the hub's real client, and kept while they are used."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from musabi.children import Cancelled
from musabi.errors import MachineError
from musabi.hub.faults import HubError
from musabi.hub.weights import Wanted
from musabi.serverless.models import locks
from musabi.serverless.models.cache import held_models
from musabi.serverless.models.ledger import Ledger
from musabi.serverless.models.room import evict, remove
from musabi.serverless.models.sources import FileSet, sets_of
from peers.loopback_hub import LoopbackHub
from peers.model_files import add_weights, safetensors
from serverless.models.conftest import SDXL, SDXL_FILE, Bench, choice

ROOT = Path(__file__).parents[3]
PATHS = os.pathsep.join(filter(None, (str(ROOT / "tests"), os.environ.get("PYTHONPATH"))))
MOUNTING = ["unshare", "--user", "--map-root-user", "--mount", "true"]
TOKEN = "hf_ofarequest1234567890"
Put = Callable[[str, bytes], Path]


def start_worker(bench: Bench) -> "subprocess.Popen[str]":
    """Start a worker in a session of its own."""
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "serverless.models.worker", str(bench.volume), bench.hub.url],
        env=dict(os.environ) | {"PYTHONPATH": PATHS},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_a_model_is_fetched_once_and_then_found_without_a_word_to_the_hub(bench: Bench) -> None:
    with held_models(bench.context("sdxl", "diffusion_pipe", {"api_keys.huggingface_token": TOKEN})) as files:
        place = Path(files.rows["checkpoint_path"])
        assert place == bench.places.models / "sdXL_v10VAEFix" / SDXL_FILE
        assert place.read_bytes() == bench.hub.repos[SDXL].files[SDXL_FILE]
        assert files.hf_home == bench.places.hf_home
        assert files.rows.keys() == {"checkpoint_path"}
        configs = bench.places.hf_home / "hub" / "models--stabilityai--stable-diffusion-xl-base-1.0"
        assert len(list(configs.glob("snapshots/*/model_index.json"))) == 1
        assert not list(configs.rglob("*.safetensors"))
        assert locks.held(bench.places.state / "models", cancel=threading.Event()) == {"sdXL_v10VAEFix"}
    assert [seen.authorization for seen in bench.hub.bodies(SDXL_FILE)] == [f"Bearer {TOKEN}"]
    asked = len(bench.hub.seen)
    began = time.monotonic()
    assert bench.bring("sdxl")["checkpoint_path"] == place
    assert time.monotonic() - began < 0.5
    assert len(bench.hub.seen) == asked
    assert TOKEN not in "".join(
        path.read_text(errors="replace") for path in bench.volume.rglob("*") if path.is_file()
    )
    percents = [percent for text, percent in _progress(bench) if percent is not None]
    assert percents and all(0 <= percent <= 100 for percent in percents)


def _progress(bench: Bench) -> list[tuple[str, float | None]]:
    value = bench.context("sdxl", "diffusion_pipe", {}).folder.progress()
    assert value is not None and value["phase"] == "models"
    assert value["message"].startswith("Downloading Model model: ")
    return [(value["message"], value.get("progress"))]


@pytest.mark.slow
def test_a_recipes_files_go_where_the_recipe_has_them(bench: Bench) -> None:
    add_weights(bench.hub, 50_000)
    with held_models(bench.context("z-image", "musubi", {})) as files:
        assert files.rows == {}
    models = bench.places.models
    assert (models / "dit" / "diffusion_pytorch_model-00002-of-00002.safetensors").is_file()
    assert (models / "vae" / "ae.safetensors").is_file()
    ref = bench.places.hf_home / "hub" / "models--Tongyi-MAI--Z-Image" / "refs" / "main"
    assert ref.read_text() == bench.hub.repos["Tongyi-MAI/Z-Image"].commit
    asked = len(bench.hub.seen)
    (models / "vae" / "ae.safetensors").write_bytes(b"cut")
    bench.bring("z-image", "musubi")
    bodies = [
        seen.path for seen in bench.hub.seen[asked:] if "/resolve/" in seen.path and seen.method == "GET"
    ]
    assert len(bodies) == 1 and bodies[0].endswith("ae.safetensors"), "the damaged file alone comes again"


@pytest.mark.slow
def test_a_whole_repo_keeps_its_folders_and_is_whole_only_when_all_of_it_came(
    bench: Bench, hub: LoopbackHub
) -> None:
    files = {
        "config.json": b"{}",
        "diffusion_pytorch_model.safetensors": safetensors(500, 1),
        "models_t5_umt5-xxl-enc-bf16.pth": b"t5",
        "Wan2.1_VAE.pth": b"vae",
        "google/umt5-xxl/spiece.model": b"words",
        "google/umt5-xxl/tokenizer.json": b"{}",
    }
    hub.add("Wan-AI/Wan2.1-T2V-1.3B", files | {"assets/logo.png": b"picture"})
    hub.fail("500", path="tokenizer.json")
    with pytest.raises(HubError):
        bench.bring("wan2.1-t2v-1.3b")
    assert Ledger(bench.places).here(sets_of(choice("wan2.1-t2v-1.3b"))[0]) is None
    hub.heal()
    folder = bench.bring("wan2.1-t2v-1.3b")["ckpt_path"]
    assert folder == bench.places.models / "diffusion-pipe" / "Wan2.1-T2V-1.3B"
    there = {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }
    assert there == files
    asked = len(hub.seen)
    assert bench.bring("wan2.1-t2v-1.3b") == {"ckpt_path": folder}
    assert len(hub.seen) == asked


@pytest.mark.slow
@pytest.mark.skipif(subprocess.call(MOUNTING) != 0, reason="a disk can't be mounted here")
def test_a_volume_that_hides_how_full_it_is_makes_room_when_it_runs_full(
    bench: Bench, hub: LoopbackHub
) -> None:
    bench.put_configs()
    hub.add(SDXL, {SDXL_FILE: safetensors(1_000_000, 2)})
    bench.places.models.mkdir()
    disk = f"mount -t tmpfs -o size=1500k disk {bench.places.models}"
    worker = f"{sys.executable} -P -m serverless.models.worker {bench.volume} {hub.url} 1000000"
    done = subprocess.run(
        [*MOUNTING[:-1], "sh", "-c", f"{disk} && {worker}"],
        env=dict(os.environ) | {"PYTHONPATH": PATHS},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "old (1.0 MB) left the disk" in done.stdout
    assert f"here: {bench.places.models}/sdXL_v10VAEFix/{SDXL_FILE}" in done.stdout


def test_what_somebody_put_under_our_names_counts_where_it_is_whole(bench: Bench, put: Put) -> None:
    bench.put_configs()
    place = put(f"musabi/models/sdXL_v10VAEFix/{SDXL_FILE}", safetensors(500, 7))
    assert bench.bring("sdxl")["checkpoint_path"] == place
    assert bench.hub.seen == []


@pytest.mark.parametrize(
    "path",
    [
        f"diffusion_pipe_working_folder/models/{SDXL_FILE}/{SDXL_FILE}",
        f"huggingface-cache/hub/models--timoshishi--sdXL_v10VAEFix/snapshots/abc/{SDXL_FILE}",
    ],
)
def test_the_originals_folder_and_runpods_cache_are_used_without_asking_the_hub(
    bench: Bench, put: Put, path: str
) -> None:
    bench.put_configs()
    place = put(path, safetensors(500, 7))
    assert bench.bring("sdxl")["checkpoint_path"] == place
    assert bench.hub.seen == []


def test_runpods_cache_is_a_setting_of_a_recipe_and_its_tokenizer_is_copied(bench: Bench, put: Put) -> None:
    def cached(repo: str, path: str, content: bytes) -> Path:
        folder = f"huggingface-cache/hub/models--{repo.replace('/', '--')}"
        put(f"{folder}/refs/main", b"abc")
        return put(f"{folder}/snapshots/abc/{path}", content)

    dit = [
        cached("Tongyi-MAI/Z-Image", f"transformer/diffusion_pytorch_model-0000{n}-of-00002.safetensors", one)
        for n, one in enumerate((safetensors(500, 1), safetensors(500, 2)), start=1)
    ]
    for name in ("tokenizer_config.json", "vocab.json", "merges.txt", "tokenizer.json"):
        cached("Tongyi-MAI/Z-Image", f"tokenizer/{name}", b"{}")
    vae = cached("Comfy-Org/z_image_turbo", "split_files/vae/ae.safetensors", safetensors(500, 3))
    text = cached(
        "Comfy-Org/z_image_turbo", "split_files/text_encoders/qwen_3_4b.safetensors", safetensors(500, 4)
    )
    with held_models(bench.context("z-image", "musubi", {})) as files:
        assert files.rows == {
            "dit_path": str(dit[0]),
            "vae_path": str(vae),
            "text_encoder_path": str(text),
        }
    snapshot = bench.places.hf_home / "hub/models--Tongyi-MAI--Z-Image/snapshots/abc"
    assert sorted(path.name for path in (snapshot / "tokenizer").iterdir()) == [
        "merges.txt",
        "tokenizer.json",
        "tokenizer_config.json",
        "vocab.json",
    ]
    assert not (snapshot / "transformer").exists()
    assert bench.hub.seen == []


@pytest.mark.slow
def test_two_workers_fetch_one_model_once(bench: Bench, hub: LoopbackHub) -> None:
    bench.put_configs()
    hub.add(SDXL, {SDXL_FILE: safetensors(1_000_000, 2)})
    hub.bytes_per_second = 800_000
    both = [start_worker(bench), start_worker(bench)]
    said = [one.communicate(timeout=60)[0] for one in both]
    assert [one.returncode for one in both] == [0, 0]
    assert all(f"here: {bench.places.models}/sdXL_v10VAEFix/{SDXL_FILE}" in text for text in said)
    assert len(hub.bodies(SDXL_FILE)) == 1
    assert sum("Another worker is at work on sdXL_v10VAEFix" in text for text in said) == 1


@pytest.mark.slow
def test_a_worker_killed_in_the_middle_leaves_nothing_under_a_final_name(
    bench: Bench, hub: LoopbackHub
) -> None:
    bench.put_configs()
    hub.add(SDXL, {SDXL_FILE: safetensors(3_000_000, 2)})
    hub.fail("stall", path=SDXL_FILE, times=1)
    worker = start_worker(bench)
    deadline = time.monotonic() + 30
    while not hub.bodies(SDXL_FILE) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.2)
    os.killpg(worker.pid, signal.SIGKILL)
    worker.communicate(timeout=10)
    assert hub.bodies(SDXL_FILE)
    assert not list((bench.places.models).glob("sdXL*/*"))
    place = bench.bring("sdxl")["checkpoint_path"]
    assert place.read_bytes() == hub.repos[SDXL].files[SDXL_FILE]
    assert not (bench.places.models / ".musabi-staging" / "sdXL_v10VAEFix").exists()


def test_the_model_used_longest_ago_leaves_a_disk_that_is_short(bench: Bench) -> None:
    bench.put_configs()
    ledger = Ledger(bench.places)
    kept = bench.put_model("old", 400_000, used=100)
    newer = bench.put_model("newer", 400_000, used=200)
    mine = bench.places.models / "mine" / "model.safetensors"
    mine.parent.mkdir()
    mine.write_bytes(b"x" * 400_000)
    capacity = 1_300_000 + 64 * 1024**2

    def free(folder: Path) -> int:
        return capacity - sum(path.stat().st_size for path in folder.rglob("*.safetensors"))

    bench.bring("sdxl", free=free)
    assert not kept.exists() and newer.exists() and mine.exists()
    assert any("old (0.4 MB) left the disk" in line for line in bench.said)
    assert list(bench.places.models.glob(".musabi-leaving-*")) == []
    assert {one.unit for one in ledger.kept()} == {"newer", "sdXL_v10VAEFix"}


def test_what_a_job_uses_stays_and_the_room_that_is_missing_is_said(bench: Bench) -> None:
    bench.put_configs()
    ledger = Ledger(bench.places)
    held = bench.put_model("held", 400_000, used=100)
    with (
        locks.holding(ledger.folder, {"held"}),
        pytest.raises(MachineError, match=r"needs 0\.3 MB and 0\.1 MB"),
    ):
        bench.bring("sdxl", free=lambda _folder: 64 * 1024**2 + 100_000)
    assert held.exists()
    assert bench.hub.bodies(SDXL_FILE) == []


def test_what_a_killed_worker_left_unfinished_leaves_first(bench: Bench) -> None:
    ledger = Ledger(bench.places)
    whole = bench.put_model("old", 1000, used=100)
    for unit in ("dead", "live"):
        wanted = Wanted(unit, f"someone/{unit}", ("model.safetensors",), unit)
        ledger.begin(FileSet("dit", wanted, wanted.patterns))
        (bench.places.models / ".musabi-staging" / unit).mkdir(parents=True)
        (bench.places.models / ".musabi-staging" / unit / "part").write_bytes(b"x" * 500)
    with locks.holding(ledger.folder, {"live"}):
        assert evict(bench.errand(), ledger, 400) == 500
    assert set(ledger.unfinished().values()) == {"live"}
    assert whole.exists()


def test_a_folder_with_somebody_elses_file_stays(bench: Bench) -> None:
    bench.put_model("ours", 1000, used=100)
    theirs = bench.put_model("theirs", 1000, used=50)
    theirs.with_name("mine.safetensors").write_bytes(b"x")
    copy = bench.put_model("adapter", 1000, used=10).parent / "native" / "model.safetensors"
    copy.parent.mkdir()
    copy.write_bytes(b"x" * 500)
    kept = {one.unit: one.size for one in Ledger(bench.places).kept()}
    assert kept == {"ours": 1000, "adapter": 1500}


def test_a_job_that_comes_to_use_a_model_while_it_leaves_keeps_it(bench: Bench) -> None:
    ledger = Ledger(bench.places)
    wanted = bench.put_model("wanted", 400_000, used=100)
    with locks.holding(ledger.folder, {"wanted"}):
        assert not remove(bench.errand(), ledger, "wanted")
    assert wanted.exists()
    assert remove(bench.errand(), ledger, "wanted")
    assert not wanted.exists()


def test_a_gated_repo_is_said_in_the_words_of_a_request(bench: Bench, hub: LoopbackHub) -> None:
    hub.fail("gated", path="/api/models")
    with (
        pytest.raises(HubError) as caught,
        held_models(bench.context("sdxl", "diffusion_pipe", {"api_keys.huggingface_token": TOKEN})),
    ):
        pass
    assert "the account of api_keys.huggingface_token (or the endpoint's HF_TOKEN) has no access" in str(
        caught.value
    )
    assert str(caught.value).endswith("then send the job again.")


def test_a_job_that_is_ended_stops_fetching(bench: Bench, hub: LoopbackHub) -> None:
    bench.put_configs()
    hub.fail("stall", path=SDXL_FILE)
    ended = threading.Timer(2, bench.cancel.set)
    ended.start()
    began = time.monotonic()
    with pytest.raises(Cancelled):
        bench.bring("sdxl")
    ended.join()
    assert time.monotonic() - began < 10
    assert not list(bench.places.models.glob("sdXL*/*"))
