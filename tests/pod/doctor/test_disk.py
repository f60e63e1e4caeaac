"""What is still to be written against what is there, and whether the workspace outlives the pod."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from musabi.hub.weights import wanted_sets
from musabi.pod.doctor import disk
from musabi.pod.doctor.needs import ENVIRONMENT_BYTES, MODULES, needs
from musabi.pod.mounts import Mount, mount_of, read_mounts
from peers.loopback_hub import LoopbackHub
from peers.loopback_runpod import KEY, POD, LoopbackRunpod, running_runpod
from small.machine import Machine, names

OVERLAY = "1 0 0:1 / / rw - overlay overlay rw\n"
MORE = "22 1 0:21 / /proc rw - proc proc rw\n"
HUGE = 10**16


def on(machine: Machine, filesystem: str, source: str = "/dev/sdb") -> None:
    """Let the workspace be a mount of its own in the container."""
    line = f"9 1 0:9 / {machine.workspace} rw,relatime shared:1 - {filesystem} {source} rw\n"
    machine.write({"proc/self/mountinfo": OVERLAY + MORE + line})


@pytest.fixture
def runpod() -> Iterator[LoopbackRunpod]:
    with running_runpod() as running:
        yield running


@pytest.fixture
def pod(machine: Machine, runpod: LoopbackRunpod) -> Machine:
    machine.environ |= {"RUNPOD_POD_ID": POD, "RUNPOD_API_KEY": KEY, "RUNPOD_REST_URL": runpod.url}
    machine.environ |= {"ENGINE": "diffusers"}
    on(machine, "fuse", "mfs#eu-cz-1.runpod.net:9421")
    return machine


@pytest.mark.parametrize(
    ("filesystem", "expected"),
    [
        ("xfs", {"disk.workspace": "ok"}),
        ("ext4", {"disk.workspace": "ok"}),
        ("nfs4", {"disk.workspace": "ok"}),
        ("fuse", {"disk.workspace": "ok"}),
        ("tmpfs", {"disk.in_memory": "note"}),
    ],
)
def test_a_workspace_on_a_volume_is_right(
    machine: Machine, filesystem: str, expected: dict[str, str]
) -> None:
    on(machine, filesystem)
    assert names(disk.look_at_workspace(machine.scene())) == expected


def test_a_workspace_on_the_containers_disk_is_said_to_be_lost_with_it(machine: Machine) -> None:
    machine.write({"proc/self/mountinfo": OVERLAY + MORE})
    (found,) = disk.look_at_workspace(machine.scene())
    assert (found.name, found.state) == ("disk.not_a_mount", "note")
    assert found.sentence.startswith(f"Everything under {machine.workspace} is lost when the pod stops: ")


def test_a_workspace_on_a_computers_own_disk_is_right_and_on_a_pods_it_is_not(machine: Machine) -> None:
    machine.write({"proc/self/mountinfo": "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n"})
    assert names(disk.look_at_workspace(machine.scene())) == {"disk.workspace": "ok"}
    assert "disk.not_a_mount" in names(disk.look_at_workspace(machine.scene(RUNPOD_POD_ID="abc")))


def test_a_workspace_that_is_not_there_is_a_note(machine: Machine) -> None:
    scene = machine.scene(WORKSPACE=str(machine.root / "nowhere" / "deep"))
    assert names(disk.look_at_workspace(scene)) == {"disk.no_workspace": "note"}


def test_a_workspace_that_can_not_be_written_to_blocks(machine: Machine) -> None:
    found = names(disk.look_at_workspace(machine.scene(WORKSPACE="/proc")))
    assert found["disk.read_only"] == "blocks"


def test_looking_leaves_nothing_behind(machine: Machine) -> None:
    disk.look(machine.scene(ENGINE="diffusers"))
    assert list(machine.workspace.iterdir()) == []


def test_mountinfo_is_read_with_its_escapes_and_the_last_mount_covers(tmp_path: Path) -> None:
    folder = tmp_path / "a b"
    folder.mkdir()
    escaped = str(folder).replace(" ", "\\040")
    text = (
        OVERLAY
        + f"2 1 0:2 / {escaped} rw - ext4 /dev/x rw\n3 1 0:3 / {escaped} rw - nfs4 host:/v rw\nnonsense\n"
    )
    (tmp_path / "self").mkdir()
    (tmp_path / "self" / "mountinfo").write_text(text)
    mounts = read_mounts(tmp_path)
    assert mount_of(mounts, folder / "new" / "file") == Mount(folder, "nfs4", "host:/v")
    assert mount_of(mounts, tmp_path).kind == "container"  # type: ignore[union-attr]
    assert read_mounts(tmp_path / "nowhere") == () and mount_of((), folder) is None


def test_this_machine_says_what_its_folders_lie_on() -> None:
    mounts = read_mounts()
    assert mount_of(mounts, Path("/proc/self")).filesystem == "proc"  # type: ignore[union-attr]


def test_the_weights_that_are_there_already_count(online: Machine, hub: LoopbackHub) -> None:
    scene = online.scene()
    sizes = {need.title: need.size for need in needs(scene)[0]}
    assert sizes["musubi-tuner's environment"] == ENVIRONMENT_BYTES
    wanted = wanted_sets()[1]
    before = sum(need.size for need in needs(scene)[0] if need.title == "weights")
    content = hub.repos[wanted.repo].files[wanted.patterns[0]]
    target = scene.places.final(wanted, wanted.patterns[0], "")
    target.parent.mkdir(parents=True)
    target.write_bytes(content)
    after = sum(need.size for need in needs(online.scene())[0] if need.title == "weights")
    assert before - after == len(content)


def test_what_is_half_fetched_counts_too(online: Machine, hub: LoopbackHub) -> None:
    scene = online.scene()
    before = sum(need.size for need in needs(scene)[0])
    staged = scene.places.staging(wanted_sets()[1]) / "part.incomplete"
    staged.parent.mkdir(parents=True)
    staged.write_bytes(b"x" * 4000)
    assert before - sum(need.size for need in needs(online.scene())[0]) == 4000


def test_checkpoints_and_states_are_estimated_before_the_dit_is_there(machine: Machine) -> None:
    scene = machine.scene(ENGINE="diffusers", NETWORK_DIM="16")
    (need,) = needs(scene)[0]
    # Eleven checkpoints in bf16 and three states of Prodigy, 20 bytes a value.
    assert need.title == "checkpoints and states"
    assert need.size == 16 * MODULES * (11 * 2 * 2 + 3 * 20)


def test_caches_are_counted_by_the_images_that_have_none(machine: Machine) -> None:
    images, cache = machine.workspace / "dataset/images", machine.workspace / "dataset/cache"
    toml = f'[[datasets]]\nimage_directory = "{images}"\ncache_directory = "{cache}"\ncaption_extension = ".txt"\n'
    machine.write({"workspace/dataset/dataset.toml": toml})
    machine.write({f"workspace/dataset/images/{number}.png": "" for number in range(5)})
    machine.write({"workspace/dataset/cache/0_zi_te.safetensors": ""})
    (need,) = [need for need in needs(machine.scene(ENGINE="diffusers"))[0] if need.title == "caches"]
    assert need.size == 4 * 4_000_000


def test_a_disk_that_is_too_small_blocks_and_names_the_parts(online: Machine, hub: LoopbackHub) -> None:
    wanted = wanted_sets()[1]
    hub.claim_size(wanted.repo, wanted.patterns[0], HUGE)
    found = [each for each in disk.look(online.scene()) if each.name == "disk.too_small"]
    assert [each.state for each in found] == ["blocks"]
    assert "weights 10000000.0 GB" in found[0].what and "checkpoints and states" in found[0].what


def test_where_the_hub_does_not_say_sizes_that_is_said(online: Machine, hub: LoopbackHub) -> None:
    hub.fail("503", path="/api/models")
    found = names(disk.look(online.scene()))
    assert found["disk.sizes_unknown"] == "unknown" and "disk.room" in found


def test_the_free_space_of_a_network_volume_is_not_believed(machine: Machine) -> None:
    on(machine, "nfs4", "storage:/volume")
    found = next(each for each in disk.look(machine.scene(ENGINE="diffusers")) if each.state == "unknown")
    assert found.name == "disk.quota_unknown" and "the whole cluster's and not yours" in found.what


def test_the_size_of_a_network_volume_is_asked_of_runpod(pod: Machine, runpod: LoopbackRunpod) -> None:
    runpod.facts["networkVolume"] = {"size": 100}
    assert names(disk.look(pod.scene())) == {"disk.workspace": "ok", "disk.room": "ok"}
    runpod.facts["networkVolume"] = {"size": 1}
    (found,) = [each for each in disk.look(pod.scene()) if each.name == "disk.too_small"]
    assert found.what.endswith("and 1.0 GB are free")


@pytest.mark.parametrize("trouble", ["wrong key", "no key", "error", "silent"])
def test_where_runpod_does_not_say_it_stays_unknown(
    pod: Machine, runpod: LoopbackRunpod, trouble: str
) -> None:
    environ = {"wrong key": {"RUNPOD_API_KEY": "rpa_another"}, "no key": {"RUNPOD_API_KEY": ""}}.get(
        trouble, {}
    )
    if trouble == "error":
        runpod.fail(500)
    if trouble == "silent":
        environ = {"RUNPOD_REST_URL": "http://127.0.0.1:9"}
    assert names(disk.look(pod.scene(**environ))) == {"disk.workspace": "ok", "disk.quota_unknown": "unknown"}


def test_counting_a_slow_volume_is_given_up_in_time(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 5000)
    assert disk.bytes_under(tmp_path, 10) in (8192, 5120, 5000, 0)
    assert disk.bytes_under(tmp_path, -1) is None
