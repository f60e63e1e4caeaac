"""SSH with a key: who may log in, and the server's own configuration, which leaves /etc/ssh alone.

There is no password to guess: only keys. The host key is made at a container's first boot and kept on its disk,
so that no two pods share one and a restart does not change it.
"""

import base64
import os
import struct
from dataclasses import dataclass
from pathlib import Path

from musabi.pod.places import PodPlaces
from musabi.whole import write_text

KEY_TYPES = frozenset(
    {
        "ssh-ed25519",
        "ssh-rsa",
        "ecdsa-sha2-nistp256",
        "ecdsa-sha2-nistp384",
        "ecdsa-sha2-nistp521",
        "sk-ssh-ed25519@openssh.com",
        "sk-ecdsa-sha2-nistp256@openssh.com",
    }
)
SERVER_PLACES = (Path("/usr/sbin/sshd"), Path("/usr/local/sbin/sshd"), Path("/usr/bin/sshd"))
# sshd gives up its rights in this empty folder; a container's /run has none.
PRIVILEGE_FOLDER = Path("/run/sshd")


@dataclass(frozen=True)
class Keys:
    """The lines that may go into authorized_keys, and a sentence for each line that may not."""

    good: tuple[str, ...]
    refused: tuple[str, ...]


def read_keys(text: str) -> Keys:
    """Sort the lines of a variable into keys and what is none. Comments and empty lines are passed over."""
    good: dict[tuple[str, str], str] = {}
    refused = []
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        words = line.split()
        if len(words) >= 2 and is_key(words[0], words[1]):
            good.setdefault((words[0], words[1]), " ".join(words))
        else:
            refused.append(
                f"Line {number} of the SSH key variable is no public key. It must begin like "
                f'"ssh-ed25519 AAAA"; copy the whole line of your .pub file.'
            )
    return Keys(tuple(good.values()), tuple(refused))


def is_key(kind: str, blob: str) -> bool:
    """Tell whether two words are a public key: its blob names its type again (RFC 4253, section 6.6)."""
    try:
        data = base64.b64decode(blob, validate=True)
        length = struct.unpack_from(">I", data)[0]
    except (ValueError, struct.error):  # binascii.Error is a ValueError
        return False
    return kind in KEY_TYPES and data[4 : 4 + length] == kind.encode() and len(data) > 4 + length


def with_keys(old: str, new: tuple[str, ...]) -> str:
    """Return authorized_keys with the new keys at its end; no key twice, what is there stays."""
    lines = old.splitlines()
    known = {tuple(line.split()[:2]) for line in lines}
    lines += [line for line in new if tuple(line.split()[:2]) not in known]
    return "\n".join([*lines, ""])


def server_config(places: PodPlaces, port: int = 22) -> str:
    """Return sshd's configuration: keys only, no PAM (its login modules fail in containers)."""
    rows = (
        ("Port", str(port)),
        ("HostKey", str(host_key(places))),
        ("AuthorizedKeysFile", str(places.home / ".ssh" / "authorized_keys")),
        ("PermitRootLogin", "prohibit-password"),
        ("PubkeyAuthentication", "yes"),
        ("PasswordAuthentication", "no"),
        ("KbdInteractiveAuthentication", "no"),
        ("UsePAM", "no"),
        ("X11Forwarding", "no"),
        ("PrintMotd", "no"),
        ("PidFile", "none"),
        ("AcceptEnv", "LANG LC_*"),
        ("ClientAliveInterval", "60"),
        ("Subsystem", "sftp internal-sftp"),
    )
    return "".join(f"{name} {value}\n" for name, value in rows)


def host_key(places: PodPlaces) -> Path:
    return places.root / "ssh_host_ed25519_key"


def config_file(places: PodPlaces) -> Path:
    return places.root / "sshd_config"


def find_server() -> Path | None:
    """Return sshd's absolute path, without which it refuses to start, or None where it is not installed."""
    return next((path for path in SERVER_PLACES if os.access(path, os.X_OK)), None)


def keygen_command(places: PodPlaces) -> tuple[str, ...]:
    """Return the command that makes the host key."""
    return ("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "musabi", "-f", str(host_key(places)))


def server_command(server: Path, places: PodPlaces) -> tuple[str, ...]:
    """Return sshd in the foreground, its log on stderr."""
    return (str(server), "-D", "-e", "-f", str(config_file(places)))


def admit(places: PodPlaces, keys: tuple[str, ...]) -> None:
    """Write authorized_keys (0600, in a folder 0700) and the server's configuration.

    Raises:
        OSError: one can't be written.
    """
    folder = places.home / ".ssh"
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    file = folder / "authorized_keys"
    old = file.read_text(encoding="utf-8", errors="surrogateescape") if file.exists() else ""
    new = with_keys(old, keys)
    if new != old:
        write_text(file, new, 0o600, sync=False)
    file.chmod(0o600)
    PRIVILEGE_FOLDER.mkdir(mode=0o755, parents=True, exist_ok=True)
    write_text(config_file(places), server_config(places), 0o600, sync=False)
