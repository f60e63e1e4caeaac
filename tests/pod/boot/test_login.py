"""The container's environment in login shells and over SSH, with values that were made to do harm."""

import base64
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from musabi.pod.boot.login import environment_text, with_first_line
from musabi.pod.boot.ssh import read_keys, with_keys
from pod.boot.box import HOME, Box

HOSTILE = {
    "COMMAND": "$(touch /harmed)",
    "BACKTICKS": "`touch /harmed`",
    "QUOTE": "'; touch /harmed; '",
    "DOUBLE": '"; touch /harmed; "',
    "MANY_LINES": "first\nexport HARMED=1\ntouch /harmed\n",
    "BACKSLASH": "\\'; touch /harmed #\\",
    "BANG": "!! !touch *?[a]~ ${HOME} $$ \t end ",
    "UNICODE": "Größe 🦙",
    "EQUALS": "a=b=c==",
    "EMPTY": "",
    "HF_TOKEN": "hf_averysecrettoken1234567890",
    "PS1": "$(touch /harmed)",
    "PS4": "$(touch /harmed)",
    "PROMPT_COMMAND": "touch /harmed",
    "BASH_ENV": "/evil.sh",
    "ENV": "/evil.sh",
    "BASH_FUNC_ls%%": "() { touch /harmed; }",
    "not-a-name;touch /harmed": "x",
    "UID": "12",
    "SHELLOPTS": "xtrace",
    "IFS": "o",
    "PWD": "/nowhere",
}
NOT_PASSED = {"PS1", "PS4", "PROMPT_COMMAND", "BASH_ENV", "ENV", "UID", "SHELLOPTS", "IFS", "PWD"}
PASSED = [name for name in HOSTILE if name.replace("_", "").isalnum() and name not in NOT_PASSED]
SHOW = 'import json, os; print("ENV" + json.dumps([dict(os.environ), os.getcwd()]))'
CLEAN = ("env", "-i", "HOME=/root", "TERM=xterm", "PATH=/usr/bin:/bin")


@pytest.fixture(scope="module")
def pod(boxes: Callable[..., Box]) -> Box:
    """A booted container with hostile variables and an SSH key."""
    made = boxes()
    made.put("/evil.sh", "touch /harmed\n")
    made.path("/root/client").mkdir(mode=0o700)
    make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(made.path("/root/client/key"))]
    subprocess.run(make, check=True, timeout=20)
    key = made.path("/root/client/key.pub").read_text()
    made.start(PUBLIC_KEY=key + key + "ssh-ed25519 nonsense\n", **HOSTILE).ready()
    return made


def shown(out: str) -> tuple[dict[str, str], str]:
    values, place = json.loads(next(line for line in out.splitlines() if line.startswith("ENV"))[3:])
    return values, place


def python(box: Box) -> str:
    return f"{sys.executable} -c '{SHOW}'"


def ssh(box: Box, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    options = ["StrictHostKeyChecking=accept-new", "UserKnownHostsFile=/root/client/known", "LogLevel=ERROR"]
    argv = ["ssh", *(word for option in options for word in ("-o", option)), *arguments]
    return box.run("env", "-i", "PATH=/usr/bin:/bin", *argv, input=stdin)


def require_whole(values: dict[str, str]) -> None:
    assert {name: values.get(name) for name in PASSED} == {name: HOSTILE[name] for name in PASSED}
    assert values["PATH"].split(":")[0] == str(Path(sys.executable).parent)
    assert "HARMED" not in values and "JUPYTER_TOKEN" not in values


@pytest.mark.slow
@pytest.mark.parametrize("shell", [("bash", "-l"), ("sh", "-l"), ("bash", "-li"), ("bash", "-i")])
def test_hostile_values_survive_a_login_and_nothing_is_executed(pod: Box, shell: tuple[str, ...]) -> None:
    values, _ = shown(pod.ok(*CLEAN, *shell, "-c", python(pod)))
    require_whole(values)
    assert not pod.path("/harmed").exists()


@pytest.mark.slow
def test_the_environment_is_readable_for_root_alone(pod: Box) -> None:
    file = pod.path("/var/lib/musabi/pod/environment.sh")
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    profile = pod.path("/etc/profile.d/musabi.sh").read_text()
    assert "hf_averysecrettoken" not in profile + pod.path("/etc/bash.bashrc").read_text()
    out = pod.ok(*CLEAN, "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "sh", "-lc", "env")
    assert "hf_averysecrettoken" not in out


@pytest.mark.slow
def test_a_login_starts_in_the_workspace_and_a_shell_within_stays_where_it_is(pod: Box) -> None:
    assert pod.ok("env", "-C", "/root", *CLEAN, "bash", "-lc", "pwd") == "/workspace\n"
    assert pod.ok("env", "-C", "/etc", *CLEAN, "bash", "-lc", "pwd") == "/etc\n"


@pytest.mark.slow
def test_what_a_person_changed_stays_changed_in_a_shell_within(pod: Box) -> None:
    out = pod.ok(
        *CLEAN, "bash", "-lc", "export HF_TOKEN=mine; bash -ic 'echo $HF_TOKEN'; bash -lc 'echo $HF_TOKEN'"
    )
    assert out == "mine\nmine\n"


@pytest.mark.slow
def test_ssh_with_the_key_logs_in_with_the_environment_in_the_workspace(pod: Box) -> None:
    key = ("-i", "/root/client/key")
    done = ssh(pod, *key, "root@127.0.0.1", python(pod))
    assert done.returncode == 0, done.stderr
    require_whole(shown(done.stdout)[0])
    assert shown(done.stdout)[1] == "/root"  # a command, as scp and rsync send them, starts at home
    done = ssh(pod, *key, "-tt", "root@127.0.0.1", stdin=f"{python(pod)}\nexit\n")
    values, place = shown(done.stdout)
    require_whole(values)
    assert place == "/workspace"
    assert not pod.path("/harmed").exists()


@pytest.mark.slow
def test_ssh_without_the_key_is_refused_and_no_password_is_asked_for(pod: Box) -> None:
    done = ssh(pod, "-o", "BatchMode=no", "-o", "NumberOfPasswordPrompts=1", "root@127.0.0.1", "true")
    assert done.returncode == 255 and "Permission denied (publickey)" in done.stderr


@pytest.mark.slow
def test_a_key_is_entered_once_and_no_key_is_said_in_one_line(pod: Box) -> None:
    folder = pod.path(f"{HOME}/.ssh")
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "authorized_keys").stat().st_mode & 0o777 == 0o600
    assert (folder / "authorized_keys").read_text().count("ssh-ed25519") == 1
    assert pod.booted is not None
    said = [line for line in pod.booted.log.splitlines() if " sshd: " in line]
    assert len(said) == 1 and "Line 3 of the SSH key variable is no public key" in said[0]


@pytest.mark.slow
def test_a_second_boot_keeps_host_key_and_token_and_adds_no_key(box: Box) -> None:
    key = subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(box.path("/k"))], timeout=20
    )
    assert key.returncode == 0
    public = box.path("/k.pub").read_text()
    seen = []
    for variable in ("PUBLIC_KEY", "SSH_PUBLIC_KEY"):
        boot = box.start(**{variable: public}).ready()
        kept = box.path("/var/lib/musabi/pod/ssh_host_ed25519_key").read_text()
        seen.append((kept, box.ok("musabi", "url"), box.path(f"{HOME}/.ssh/authorized_keys").read_text()))
        seen[-1] += (box.path("/etc/bash.bashrc").read_text(),)
        assert boot.end() == 143
    assert seen[0] == seen[1]
    assert seen[0][3].count("# musabi\n") == 1


def test_a_bashrc_gets_its_line_once() -> None:
    once = with_first_line("a\nb\n", "x # musabi", "# musabi")
    assert once == "x # musabi\na\nb\n"
    assert with_first_line(once, "y # musabi", "# musabi") == "y # musabi\na\nb\n"


def test_the_token_is_not_among_what_a_login_gets() -> None:
    text = environment_text({"JUPYTER_TOKEN": "secret", "JUPYTER_PASSWORD": "secret", "A": "b"}, "1")
    assert "secret" not in text and "export A='b'" in text


def test_keys_are_told_from_what_is_none(tmp_path: Path) -> None:
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "k")], check=True, timeout=20
    )
    good = (tmp_path / "k.pub").read_text().strip()
    kind, blob = good.split()[:2]
    lines = [
        good,
        f"{kind} {blob} other comment",
        "ssh-rsa " + blob,
        kind,
        f"{kind} {blob[:20]}",
        "-----BEGIN",
        "# note",
    ]
    keys = read_keys("\n".join(lines))
    assert keys.good == (f"{kind} {blob} other comment",) or keys.good == (good,)
    assert len(keys.refused) == 4
    assert with_keys(f"{kind} {blob} there\n", keys.good) == f"{kind} {blob} there\n"
    assert with_keys("", keys.good).count(blob) == 1


def test_a_key_with_an_odd_letter_is_refused_alone() -> None:
    good = "ssh-ed25519 " + base64.b64encode(b"\0\0\0\x0bssh-ed25519" + b"\0\0\0 " + b"k" * 32).decode()
    keys = read_keys(f"ssh-ed25519 AAAA\u2026\n{good}\n")
    assert keys.good == (good,) and len(keys.refused) == 1 and "Line 1" in keys.refused[0]
