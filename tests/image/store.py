"""Images without a daemon: a base made by debootstrap, built upon by buildah, in a folder of its own."""

import ast
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

ROOT = Path(__file__).parents[2]
BASE = "localhost/musabi-test-base"
PROGRAMS = ("buildah", "debootstrap", "unshare", "nsenter", "chroot", "ip", "git")
BUILD_SECONDS = 900
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
OWN_CERTIFICATES = Path("/usr/local/share/ca-certificates")
APT_SOURCES = Path("/etc/apt/sources.list.d/debian.sources")
# pip's settings that say where packages come from and how their servers are reached.
PIP_KEYS = ("index-url", "extra-index-url", "find-links", "trusted-host", "cert", "timeout")


def why_not() -> str | None:
    """Return why images can't be built here, or None."""
    if sys.platform != "linux":
        return "needs Linux"
    if os.geteuid() != 0:
        return "needs root, for chroot and namespaces"
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    return f"not installed: {', '.join(missing)}" if missing else None


@dataclass(frozen=True)
class Store:
    """A folder of images and working containers."""

    folder: Path

    def run(self, *argv: str, limit_s: float = 120, **options: Any) -> str:
        """Run a buildah command and return its output; its error output is in what is raised."""
        options.setdefault("env", dict(os.environ))
        command = [
            "buildah",
            "--storage-driver",
            "overlay",
            "--root",
            f"{self.folder}/storage",
            "--runroot",
            f"{self.folder}/run",
        ]
        done = subprocess.run(
            [*command, *argv], capture_output=True, text=True, timeout=limit_s, check=False, **options
        )
        if done.returncode != 0:
            raise AssertionError(f"buildah {argv[0]} failed:\n{(done.stdout + done.stderr)[-8000:]}")
        return done.stdout

    def has(self, image: str) -> bool:
        return any(image in (row.get("names") or ()) for row in json.loads(self.run("images", "--json")))

    def add_base(self) -> None:
        """Make the base image: Debian bookworm with its Python, trusting whom this machine trusts."""
        if self.has(f"{BASE}:latest"):
            return
        with tempfile.TemporaryDirectory(dir=self.folder) as made:
            folder = Path(made) / "base"
            make_base(folder)
            archive = Path(made) / "base.tar"
            subprocess.run(["tar", "-C", str(folder), "-cf", str(archive), "."], check=True, timeout=120)
            name = self.run("from", "scratch").strip()
            self.run("add", name, str(archive), "/")
            # As runpod/base sets them.
            self.run("config", "--cmd", "/start.sh", "--env", "HF_HUB_ENABLE_HF_TRANSFER=1", name)
            self.run("commit", "--quiet", "--format", "docker", name, BASE)
            self.run("rm", name)

    def build(
        self,
        context: Path,
        target: str,
        arguments: Mapping[str, str] | None = None,
        files: Mapping[Path, str] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> str:
        """Build a target of the Dockerfile and return the image's id.

        `files` are bound into the build at the given places, beside this machine's pip configuration: that
        way they are in no layer. `environment` is set for buildah itself.
        """
        argv = ["build", "--layers", "--format", "docker", "--isolation", "chroot", "--network", "host"]
        for name, value in {"BASE_IMAGE": BASE, **(arguments or {})}.items():
            argv += ["--build-arg", f"{name}={value}"]
        with tempfile.TemporaryDirectory(dir=self.folder) as made:
            config = Path(made) / "pip.conf"
            bound = pip_files(config) | {str(path): place for path, place in (files or {}).items()}
            for path, place in bound.items():
                argv += ["--volume", f"{path}:{place}:ro"]
            identity = Path(made) / "image-id"
            argv += ["--iidfile", str(identity), "--target", target, str(context)]
            self.run(*argv, limit_s=BUILD_SECONDS, env={**os.environ, **(environment or {})})
            return identity.read_text().strip().removeprefix("sha256:")

    def config(self, image: str) -> dict[str, Any]:
        """Return an image's configuration as Docker reads it."""
        config: dict[str, Any] = self._about(image)["Docker"]["config"]
        return config

    def layers(self, image: str) -> list[str]:
        """Return the digests of an image's layers, lowest first."""
        return list(self._about(image)["Docker"]["rootfs"]["diff_ids"])

    def text(self, image: str) -> str:
        """Return all that is recorded about an image, its history included."""
        return json.dumps(self._about(image))

    def _about(self, image: str) -> dict[str, Any]:
        about: dict[str, Any] = json.loads(self.run("inspect", "--type", "image", image))
        return about

    def layer_folders(self, image: str) -> list[Path]:
        """Return where an image's layers lie unpacked, lowest first."""
        images, layers = (
            {row["id"]: row for row in json.loads((self.folder / "storage" / name).read_text())}
            for name in ("overlay-images/images.json", "overlay-layers/layers.json")
        )
        found: list[Path] = []
        layer = images[image].get("layer")
        while layer:
            found.insert(0, self.folder / "storage/overlay" / layer / "diff")
            layer = layers[layer].get("parent")
        return found

    @contextlib.contextmanager
    def mounted(self, image: str) -> Iterator[Path]:
        """Yield the root of a fresh container of an image; what is written there is thrown away."""
        name = self.run("from", "--pull-never", image).strip()
        try:
            yield Path(self.run("mount", name).strip())
        finally:
            self.run("rm", name)


def make_base(folder: Path) -> None:
    """Lay out Debian bookworm in a folder."""
    # Debian's and Ubuntu's own images have this file: dpkg doesn't wait for the disk at every file that it writes.
    unsafe = folder / "etc/dpkg/dpkg.cfg.d/docker-apt-speedup"
    unsafe.parent.mkdir(parents=True)
    unsafe.write_text("force-unsafe-io\n")
    packages = "python3,python3-venv,ca-certificates"
    argv = ["debootstrap", "--variant=minbase", f"--include={packages}", "bookworm", str(folder)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=BUILD_SECONDS, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    for path in folder.glob("var/cache/apt/archives/*.deb"):
        path.unlink()
    if APT_SOURCES.is_file():
        (folder / "etc/apt/sources.list").unlink(missing_ok=True)
        shutil.copy(APT_SOURCES, folder / "etc/apt/sources.list.d")
    if OWN_CERTIFICATES.is_dir():
        shutil.copytree(OWN_CERTIFICATES, folder / OWN_CERTIFICATES.relative_to("/"), dirs_exist_ok=True)
    if CERTIFICATES.is_file():
        shutil.copy(CERTIFICATES, folder / CERTIFICATES.relative_to("/"))


def pip_files(config: Path) -> dict[str, str]:
    """Write pip's configuration of this machine to a file; return what to bind where for it to work."""
    argv = [sys.executable, "-m", "pip", "config", "list"]
    listed = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True).stdout
    values: dict[str, str] = {}
    for line in listed.splitlines():
        name, _, value = line.partition("=")
        scope, _, key = name.rpartition(".")
        if key in PIP_KEYS and (scope == ":env:" or key not in values):
            values[key] = ast.literal_eval(value)
    if not values:
        return {}
    rows = [f"{key} = {' '.join(value.split())}" for key, value in values.items()]
    config.write_text("\n".join(["[global]", *rows, ""]))
    bound = {str(config): "/etc/pip.conf"}
    for word in " ".join(values.values()).split():
        path = Path(urlsplit(word).path)
        if path.is_dir():
            # A package index keeps its files beside the folder of its pages.
            folder = path.parent if path.name == "simple" else path
            bound[str(folder)] = str(folder)
    return bound


def copy_context(target: Path) -> Path:
    """Copy the files of this checkout that git knows or would take, as the builder is given them."""
    argv = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True).stdout
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    return target
