"""What the Dockerfile makes: layers, configuration, what is in them and what is not."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from image.store import Store, copy_context

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("image")]

SECRET = "marked-secret-4711"
SECRETS = ("HF_TOKEN", "JUPYTER_TOKEN", "JUPYTER_PASSWORD", "RUNPOD_API_KEY", "DOCKER_PASSWORD", "MUSABI_ANY")


def test_the_image_tells_how_it_is_run(store: Store, slim: str) -> None:
    config = store.config(slim)
    assert config["Entrypoint"] == ["/opt/musabi/entrypoint.sh"]
    assert not config["Cmd"]
    assert config["WorkingDir"] == "/workspace"
    assert set(config["ExposedPorts"]) == {"8888/tcp", "6006/tcp"}
    assert config["Healthcheck"]["Test"] == ["CMD", "sh", "-c", "musabi health || exit 1"]
    assert config["Shell"] == ["/bin/bash", "-o", "pipefail", "-c"]
    labels = {name.removeprefix("org.opencontainers.image."): text for name, text in config["Labels"].items()}
    assert labels.keys() >= {"title", "description", "source", "licenses", "version", "revision"}
    assert labels["musabi.musubi-ref"] == "v0.3.4"


def test_the_image_sets_no_token_and_nothing_that_its_own_settings_refuse(store: Store, slim: str) -> None:
    from musabi.settings import Settings, load

    environment = dict(row.split("=", 1) for row in store.config(slim)["Env"])
    assert [name for name in environment if "TOKEN" in name or "PASSWORD" in name or "KEY" in name] == []
    settings = load(environment)
    assert settings.musubi_ref == Settings.model_fields["musubi_ref"].default
    assert settings.musabi_image is not None and "v0.3.4" in settings.musabi_image
    assert str(settings.musabi_state_dir) == "/opt/musabi/state"
    # The base says 1, which the trainer's huggingface_hub takes at its word.
    assert environment["HF_HUB_ENABLE_HF_TRANSFER"] == "0"


def test_the_image_holds_the_package_and_nothing_else_of_the_checkout(store: Store, slim: str) -> None:
    with store.mounted(slim) as root:
        found = {path.name for path in (root / "opt/musabi").iterdir()}
        assert found >= {"venv", "src", "entrypoint.sh", "bootstrap.sh", "dataset.toml.example", "notebooks"}
        assert found.isdisjoint({"tests", "bench", "docs", ".git", ".ci", "uv.lock", "test.sh", "Dockerfile"})
        assert not (root / "opt/musabi/requirements/dev.txt").exists()
        assert [path.name for path in (root / "etc/ssh").glob("ssh_host_*")] == []
        assert list((root / "var/lib/apt/lists").iterdir()) == []
        assert list((root / "workspace").iterdir()) == []
        assert not (root / "root/.cache").exists()


def test_the_package_runs_from_its_place_with_its_code_compiled(store: Store, slim: str) -> None:
    with store.mounted(slim) as root:
        code = (
            "import musabi, musabi.cli, json; "
            "print(json.dumps([musabi.__file__, musabi.__spec__.cached, musabi.cli.main.__code__.co_filename]))"
        )
        python = ["chroot", str(root), "/opt/musabi/venv/bin/python", "-c", code]
        done = subprocess.run(python, capture_output=True, text=True, check=True, timeout=60)
        file, compiled, named = json.loads(done.stdout)
        assert file == "/opt/musabi/src/musabi/__init__.py"
        assert (root / compiled.lstrip("/")).is_file()
        assert named == "/opt/musabi/src/musabi/cli.py"
        asked = ["chroot", str(root), "/usr/local/bin/musabi", "--version"]
        assert subprocess.check_output(asked, text=True, timeout=60).strip()


def test_kernels_can_be_compiled_and_opencv_finds_its_libraries(store: Store, slim: str) -> None:
    with store.mounted(slim) as root:
        script = (
            "echo '#include <Python.h>' > /tmp/kernel.c && "
            "gcc $(python3-config --includes) -c /tmp/kernel.c -o /tmp/kernel.o && "
            "ldconfig -p | grep -q libGL.so.1 && ldconfig -p | grep -q libgthread-2.0.so.0 && git --version"
        )
        argv = ["chroot", str(root), "/bin/bash", "-ec", script]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr


def test_a_change_of_the_code_leaves_all_but_the_last_layer(store: Store, slim: str, tmp_path: Path) -> None:
    context = copy_context(tmp_path / "context")
    with (context / "src/musabi/watch/words.py").open("a") as file:
        file.write("# another commit\n")
    changed = store.build(context, "slim", {"REVISION": "0123abc", "VERSION": "v9"})
    before, after = store.layers(slim), store.layers(changed)
    different = [number for number, pair in enumerate(zip(before, after, strict=True)) if pair[0] != pair[1]]
    assert different == [len(before) - 1]
    assert store.config(changed)["Labels"]["org.opencontainers.image.revision"] == "0123abc"
    layer = store.layer_folders(changed)[-1]
    assert (layer / "opt/musabi/src/musabi/watch/words.py").read_text().endswith("# another commit\n")
    assert sum(path.lstat().st_size for path in layer.rglob("*") if path.is_file()) < 20_000_000


def test_no_secret_of_the_building_machine_gets_into_a_layer(store: Store, tmp_path: Path) -> None:
    context = copy_context(tmp_path / "context")
    for name in (
        ".env",
        "src/.env.local",
        "token",
        "workspace/.cache/token",
        ".git/config",
        "scripts/image/key.pem",
        "notebooks/.ipynb_checkpoints/output",
    ):
        (context / name).parent.mkdir(parents=True, exist_ok=True)
        (context / name).write_text(SECRET)
    image = store.build(context, "slim", environment=dict.fromkeys(SECRETS, SECRET))
    assert SECRET not in store.text(image)
    assert [str(folder) for folder in store.layer_folders(image) if _mentions(folder, SECRET)] == []


def _mentions(folder: Path, text: str) -> bool:
    argv = ["grep", "--recursive", "--quiet", "--fixed-strings", "--", text, str(folder)]
    done = subprocess.run(argv, timeout=300, check=False, capture_output=True)
    return done.returncode == 0


@pytest.mark.parametrize(("pinned", "expected"), [("2.13.0", 0), ("2.9.1", 1)])
def test_the_guard_ends_the_build_where_another_version_imports(
    tmp_path: Path, pinned: str, expected: int, capfd: pytest.CaptureFixture[str]
) -> None:
    environment = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True, timeout=60)
    site = next(environment.glob("lib/python*/site-packages"))
    (site / "torch").mkdir()
    (site / "torch/__init__.py").write_text("__version__ = '2.13.0+cpu'\n")
    guard = Path(__file__).parents[2] / "scripts/image/check_pins.py"
    argv = [sys.executable, str(guard), str(environment / "bin/python"), f"torch=={pinned}"]
    assert subprocess.run(argv, timeout=60, check=False).returncode == expected
    assert ("torch is pinned to 2.9.1, but 2.13.0+cpu imports" in capfd.readouterr().err) == bool(expected)


def test_the_guard_ends_the_build_where_nothing_imports(tmp_path: Path) -> None:
    guard = Path(__file__).parents[2] / "scripts/image/check_pins.py"
    argv = [sys.executable, str(guard), sys.executable, "no_such_package==1.0"]
    assert subprocess.run(argv, timeout=60, check=False, capture_output=True).returncode == 1
