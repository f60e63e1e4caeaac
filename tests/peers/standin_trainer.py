"""A stand-in for musubi-tuner: a git repository of a package that installs in no time, and its packages.

It has musubi-tuner's project name, its layout, the scripts that the bootstrap looks for, and its way of
binding torch to three conflicting indexes, each behind an extra. Its build backend lies in the repository, so
that nothing has to be fetched to build it. torch, torchvision and the optional packages are wheels of a few
hundred bytes that say their version when imported.
"""

import base64
import hashlib
import os
import subprocess
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

PYPROJECT = """[project]
name = "musubi-tuner"
version = "{version}"
requires-python = ">=3.10"
dependencies = ["standin-dependency"]

[project.optional-dependencies]
cu124 = ["torch>=2.5.1", "torchvision>=0.20.1"]
cu128 = ["torch>=2.7.1", "torchvision>=0.22.1"]

[tool.uv]
conflicts = [[{{ extra = "cu124" }}, {{ extra = "cu128" }}]]

[tool.uv.sources]
torch = [
  {{ index = "pytorch-cu124", extra = "cu124" }},
  {{ index = "pytorch-cu128", extra = "cu128" }},
]
torchvision = [
  {{ index = "pytorch-cu124", extra = "cu124" }},
  {{ index = "pytorch-cu128", extra = "cu128" }},
]

[[tool.uv.index]]
name = "pytorch-cu124"
url = "http://127.0.0.1:9/cu124"
explicit = true

[[tool.uv.index]]
name = "pytorch-cu128"
url = "http://127.0.0.1:9/cu128"
explicit = true

[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
"""

BACKEND = '''
"""Builds an editable wheel of this very folder, with the standard library alone."""

import os
import tomllib
import zipfile


def _info():
    with open("pyproject.toml", "rb") as file:
        project = tomllib.load(file)["project"]
    lines = ["Metadata-Version: 2.1", f"Name: {project['name']}", f"Version: {project['version']}"]
    lines += [f"Requires-Dist: {name}" for name in project["dependencies"]]
    for extra, names in project.get("optional-dependencies", {}).items():
        lines += [f"Provides-Extra: {extra}"]
        lines += [f"Requires-Dist: {name}; extra == '{extra}'" for name in names]
    return f"musubi_tuner-{project['version']}", "\\n".join(lines) + "\\n"


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    stem, metadata = _info()
    name = f"{stem}-py3-none-any.whl"
    info = f"{stem}.dist-info"
    with zipfile.ZipFile(os.path.join(wheel_directory, name), "w") as wheel:
        wheel.writestr("musubi_tuner.pth", os.path.abspath("src") + "\\n")
        wheel.writestr(f"{info}/METADATA", metadata)
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr(f"{info}/RECORD", "")
    return name


build_wheel = build_editable


def get_requires_for_build_editable(config_settings=None):
    return []


get_requires_for_build_wheel = get_requires_for_build_editable
'''

SCRIPTS = (
    "zimage_cache_latents.py",
    "zimage_cache_text_encoder_outputs.py",
    "zimage_train_network.py",
    "zimage_generate_image.py",
    "convert_lora.py",
)
SCRIPT = """import argparse

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--dit")
    parser.parse_known_args()
    print("a stand-in")
"""


class StandInTrainer:
    """The repository. `url` is what MUSUBI_REPO_URL is set to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        package = folder / "src" / "musubi_tuner"
        package.mkdir(parents=True)
        (folder / "backend.py").write_text(BACKEND)
        (package / "__init__.py").write_text("")
        for script in SCRIPTS:
            (package / script).write_text(SCRIPT)
        self._git("init", "--quiet", "--initial-branch", "main")
        self._git("config", "uploadpack.allowFilter", "true")
        self._git("config", "uploadpack.allowAnySHA1InWant", "true")
        self.release("0.3.4", "v0.3.4")

    @property
    def url(self) -> str:
        return self.folder.as_uri()

    def release(self, version: str, tag: str | None = None, annotated: bool = False) -> str:
        """Commit a version, tag it (a tag that is there moves), and return the commit."""
        (self.folder / "pyproject.toml").write_text(PYPROJECT.format(version=version))
        self._git("add", "-A")
        self._git("commit", "--quiet", "--allow-empty", "-m", f"version {version}")
        if tag is not None:
            self._git("tag", "--force", *(["-a", "-m", tag] if annotated else []), tag)
        return self.commit

    @property
    def commit(self) -> str:
        return self._git("rev-parse", "HEAD")

    def _git(self, *argv: str) -> str:
        who = ("-c", "user.name=t", "-c", "user.email=t@localhost", "-c", "commit.gpgsign=false")
        environment = os.environ | {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
        command = ["git", *who, "-C", str(self.folder), *argv]
        return subprocess.check_output(command, text=True, env=environment, timeout=60).strip()


def make_wheel(folder: Path, name: str, version: str, module: str, body: str = "") -> Path:
    """Write a wheel of one package with one module into a folder."""
    stem = f"{name.replace('-', '_')}-{version}"
    info = f"{stem}.dist-info"
    files = {
        f"{module}/__init__.py": f"__version__ = {version!r}\n{body}",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    rows = []
    for path, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        rows.append(f"{path},sha256={digest},{len(text.encode())}")
    files[f"{info}/RECORD"] = "\n".join([*rows, f"{info}/RECORD,,", ""])
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(place, "w") as wheel:
        for path, text in files.items():
            wheel.writestr(path, text)
    return place


def make_packages(folder: Path, torch: str = "2.9.1+cu128", torchvision: str = "0.24.1+cu128") -> None:
    """Lay out two package indexes under a folder: `torch/` as PyTorch's, `packages/` as everything else's.

    bitsandbytes fails at import, as it does where its libraries are missing.
    """
    for name, version in (("torch", torch), ("torchvision", torchvision)):
        make_wheel(folder / "torch" / name, name, version, name)
    for name, module in (("standin-dependency", "standin_dependency"), ("prodigyopt", "prodigyopt")):
        make_wheel(folder / "packages" / name, name, "1.0", module)
    make_wheel(folder / "packages" / "tensorboard", "tensorboard", "2.21.0", "tensorboard")
    make_wheel(folder / "packages" / "hf-transfer", "hf-transfer", "0.1.9", "hf_transfer")
    broken = "raise OSError('libcudart.so.12: cannot open shared object file')\n"
    make_wheel(folder / "packages" / "bitsandbytes", "bitsandbytes", "0.50.2", "bitsandbytes", broken)


@contextmanager
def serving(folder: Path, failures: int = 0) -> Iterator[str]:
    """Yield the address of a plain file server, whose folder listings serve as package indexes.

    The first `failures` requests are answered with 503.
    """
    left = iter(range(failures))

    class Quiet(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            if next(left, None) is None:
                super().do_GET()
            else:
                self.send_error(503)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=5)
