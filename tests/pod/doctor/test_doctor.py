"""`musabi doctor` as a person runs it: it never fails, never hangs, never shows a secret, and says what to do."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from musabi.pod.doctor.doctor import Look, diagnose, lines, side_by_side
from musabi.pod.doctor.finding import Finding, finding, ok, public_text
from musabi.pod.doctor.scene import Scene
from peers.loopback_hub import LoopbackHub
from small.machine import Machine, names, standin_environment, standin_smi

SECRETS = {
    "HF_TOKEN": "hf_MARKEDtoken0123456789",
    "RUNPOD_API_KEY": "rpa_MARKEDkey0123456789",
    "JUPYTER_TOKEN": "MARKEDjupyter0123",
    "JUPYTER_PASSWORD": "MARKEDpassword0123",
    "WANDB_API_KEY": "MARKEDwandb0123",
    "AWS_SECRET_ACCESS_KEY": "MARKEDaws0123",
    "PUBLISH_TO": "hf:someone/something",
}


def run(environ: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "musabi", "doctor", *arguments]
    return subprocess.run(argv, env=environ, capture_output=True, text=True, timeout=120)


def plain(machine: Machine, **environ: str) -> dict[str, str]:
    """The environment of a process that sees the machine's folders and this one's kernel."""
    return machine.environ | {"RUNPOD_REST_URL": "http://127.0.0.1:9"} | environ


def test_a_look_that_fails_is_a_finding_and_not_a_traceback(machine: Machine) -> None:
    def broken(scene: Scene) -> list[Finding]:
        raise OSError(f"no way to https://host/file?X-Amz-Signature=MARKED#x for {scene.environ['HF_TOKEN']}")

    (found,) = diagnose(machine.scene(HF_TOKEN=SECRETS["HF_TOKEN"]), [Look("disk", broken, 5)])
    assert (found.name, found.state) == ("doctor.failed", "unknown")
    assert found.what == "looking at it failed (OSError: no way to https://host/file for ***)"


def test_a_look_that_hangs_is_left_behind_and_the_others_are_not_held_up(machine: Machine) -> None:
    def hangs(scene: Scene) -> list[Finding]:
        time.sleep(30)
        return []

    began = time.monotonic()
    looks = [Look("gpu", hangs, 0.5), Look("cores", lambda _scene: [ok("cores.share", "8 cores")], 5)]
    found = side_by_side(machine.scene(), looks)
    assert time.monotonic() - began < 5
    assert names(found["gpu"]) == {"doctor.late": "unknown"} and names(found["cores"]) == {
        "cores.share": "ok"
    }


def test_where_all_is_right_a_field_is_one_line() -> None:
    found = [
        ok("cores.share", "8 cores"),
        ok("memory.size", "256.0 GB of main memory"),
        ok("cores.x", "more"),
    ]
    assert lines(found) == [
        "cores    ok       8 cores; more",
        "memory   ok       256.0 GB of main memory",
        "",
        "Nothing stands in the way of a training.",
    ]


def test_where_something_is_wrong_the_consequence_comes_first_and_the_mend_below() -> None:
    found = [
        ok("gpu.driver", "A GPU"),
        finding("gpu.cuda_older", had="12.4", wanted="12.8"),
        finding("gpu.none"),
    ]
    shown = lines(found)
    assert shown[0].startswith("gpu      BLOCKS   musubi-tuner can't train here: this container has no GPU")
    assert shown[1].strip().startswith("Deploy a pod with a GPU")
    assert shown[2].startswith("gpu      note     Single kernels may fail: the driver offers CUDA 12.4")
    assert shown[4] == "gpu      ok       A GPU"
    assert shown[-1] == "1 in the way of a training; 1 worth knowing."


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://a.b/c?sig=x", "https://a.b/c"),
        ("see s3://bucket/key?X-Amz-Credential=a#b, now", "see s3://bucket/key now"),
        ("https://user:pass@host/x", "https://***@host/x"),
        ("two\nlines\t here", "two lines here"),
        ("why? because", "why? because"),
    ],
)
def test_what_is_shown_may_be_pasted_in_public(text: str, shown: str) -> None:
    assert public_text(text, ()) == shown


def test_the_doctor_runs_on_this_very_machine(machine: Machine) -> None:
    done = run(
        os.environ | {"WORKSPACE": str(machine.workspace), "MUSABI_STATE_DIR": str(machine.state)}, "--quick"
    )
    assert done.returncode in (0, 3) and done.stderr == ""
    fields = {line.split()[0] for line in done.stdout.splitlines() if line and line[0] != " "}
    assert {"gpu", "cores", "memory", "disk", "network", "ports", "output"} <= fields
    assert (done.returncode == 3) == ("BLOCKS" in done.stdout)


@pytest.mark.slow
def test_the_whole_doctor_runs_without_a_gpu_and_says_what_it_could_not_look_at(online: Machine) -> None:
    online.environ.pop("MUSUBI_CUDA_EXTRA")
    done = run(plain(online, ENGINE="diffusers"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert (
        "kernels  unknown  Whether GPU kernels work is not known" in done.stdout or "no torch" in done.stdout
    )


def test_a_machine_without_a_gpu_blocks_musubi_and_not_diffusers(online: Machine) -> None:
    online.environ.pop("MUSUBI_CUDA_EXTRA")
    done = run(plain(online), "--quick", "--json")
    assert done.returncode == 3
    values = json.loads(done.stdout)
    assert values["ok"] is False
    assert all(set(each) == {"name", "state", "what", "consequence", "mend"} for each in values["findings"])
    none = next(each for each in values["findings"] if each["name"] == "gpu.none")
    assert none["state"] == "blocks" and none["mend"].startswith("Deploy a pod with a GPU")
    done = run(plain(online), "--quick", "--json", "--engine", "diffusers")
    assert done.returncode == 0 and json.loads(done.stdout)["ok"] is True


def test_a_good_pod_has_nothing_in_its_way(online: Machine, driven: Machine, hub: LoopbackHub) -> None:
    """All at once: a driver, the trainer's environment, its weights at the hub and a disk with room."""
    del online.environ["MUSUBI_CUDA_EXTRA"]
    standin_smi(driven, "570.124.06", "NVIDIA Stand-in, 80000, 81559, 9.0")
    standin_environment(driven, "#!/bin/sh\n", cuda="12.8")
    done = run(plain(driven), "--quick", "--json")
    found = {each["name"]: each["state"] for each in json.loads(done.stdout)["findings"]}
    # The name of PyTorch's index is the one that a machine without a network can't look up.
    found.pop("network.no_name", None)
    assert "blocks" not in found.values(), done.stdout
    assert found["gpu.driver"] == found["network.hub"] == found["disk.room"] == "ok"


def test_no_secret_is_ever_shown(online: Machine, hub: LoopbackHub) -> None:
    hub.fail("401", path="/api/whoami")
    secret = "MARKEDuser:MARKEDpass"
    url = online.environ["MUSUBI_REPO_URL"].replace("http://", f"http://{secret}@")
    environ = plain(online, **SECRETS, MUSUBI_REPO_URL=url + "?token=MARKEDquery", RUNPOD_POD_ID="podid123")
    online.write({"state/pod/jupyter-token": "MARKEDfiletoken0123"})
    said = ""
    for arguments in ((), ("--json",), ("--boot",), ("--boot", "--json")):
        done = run(environ, *(arguments if "--boot" in arguments else ("--quick", *arguments)))
        assert done.returncode in (0, 3) and done.stdout, done.stderr
        said += done.stdout + done.stderr
    said += (online.state / "pod" / "report.json").read_text()
    assert "MARKED" not in said
    assert "HF_TOKEN is not valid" in said


def test_a_wrong_setting_is_a_wrong_request(machine: Machine) -> None:
    done = run(plain(machine, MAX_HOURS="soon"), "--quick")
    assert done.returncode == 2 and "MAX_HOURS" in done.stderr


def rows(machine: Machine, **environ: str) -> dict[str, dict[str, Any]]:
    done = run(plain(machine, **environ), "--boot", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["rows"]
    kept = json.loads(Path(machine.state / "pod" / "report.json").read_text())
    assert kept["rows"] == found and kept["made"] > 1e9
    return {row["name"]: row for row in found}


def test_the_boot_report_has_a_row_for_each_thing(online: Machine) -> None:
    online.write({"workspace/dataset/images/a.png": "", "workspace/dataset/images/a.txt": ""})
    found = rows(online, RUNPOD_POD_ID="podid123", MAX_HOURS="6", IDLE_MINUTES="30", ON_FINISH="stop")
    assert list(found) == ["GPU", "CUDA", "disk", "workspace", "DNS", "tokens", "open", "work", "stops"]
    assert found["open"]["text"].startswith("https://podid123-8888.proxy.runpod.net (musabi url")
    assert found["workspace"]["text"] == "no bootstrap yet, 1 image, no run yet."
    assert "6 h (MAX_HOURS)" in found["stops"]["text"] and "stop when a run is done" in found["stops"]["text"]
    assert (online.state / "pod" / "report.json").stat().st_mode & 0o777 == 0o600


def test_the_boot_report_says_which_tokens_are_there_by_name_alone(online: Machine) -> None:
    assert rows(online)["tokens"]["text"].startswith("set: none; not set: HF_TOKEN, RUNPOD_API_KEY")
    said = rows(online, HF_TOKEN=SECRETS["HF_TOKEN"], JUPYTER_PASSWORD="MARKEDpassword0123")["tokens"]["text"]
    assert said.startswith("set: HF_TOKEN, JUPYTER_TOKEN or JUPYTER_PASSWORD; not set: RUNPOD_API_KEY")


def test_the_boot_report_says_what_still_runs_and_what_failed(online: Machine) -> None:
    services = {"jupyter": {"state": "running"}, "sshd": {"state": "off"}, "guard": {"state": "failed"}}
    online.write({"state/pod/boot.json": json.dumps({"address": "https://x.example", "services": services})})
    found = rows(online)
    assert "services: jupyter" in found["work"]["text"] and "guard is not there" in found["work"]["text"]
    assert found["work"]["more"] and found["work"]["more"][0].endswith("guard.log.")
    assert found["open"]["text"].startswith("https://x.example ")


@pytest.mark.slow
def test_the_boot_report_comes_in_time_though_the_driver_hangs(driven: Machine) -> None:
    began = time.monotonic()
    found = rows(driven, STANDIN_HANG="1")
    assert time.monotonic() - began < 15
    assert found["GPU"]["state"] in ("blocks", "unknown")
    assert found["stops"]["text"].startswith("never by itself")


def test_the_boot_report_loads_no_torch_and_no_hub(machine: Machine) -> None:
    code = (
        "import os, sys; from musabi.pod.report import boot_report, lines; from musabi.settings import load\n"
        "print(len(lines(boot_report(load(os.environ), os.environ))) >= 9)\n"
        "print([name for name in ('torch', 'huggingface_hub', 'httpx') if name in sys.modules])\n"
    )
    argv = [sys.executable, "-c", code]
    done = subprocess.run(argv, env=plain(machine), capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines() == ["True", "[]"]


def test_a_report_that_can_not_be_kept_is_still_said(machine: Machine) -> None:
    machine.write({"state": "a file where a folder belongs"})
    done = run(plain(machine), "--boot")
    assert done.returncode == 0 and done.stdout.startswith("GPU ")
