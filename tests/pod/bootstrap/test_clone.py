"""musubi-tuner's checkout: what a ref may be, what happens when it moves, and whose work is kept."""

import base64
import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from musabi.pod.bootstrap.stages.clone import candidates, without_credentials

QUICK = {"skip_model_download": True}


@pytest.fixture
def clone(pod: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A pod whose bootstrap is the clone and what it needs."""
    from musabi.pod.bootstrap import stages

    short = tuple(stage for stage in stages.PROFILES["musubi"] if stage.name in ("layout", "clone"))
    monkeypatch.setitem(stages.PROFILES, "musubi", short)
    return pod


def head(pod: Any) -> str:
    checkout = str(pod.options.space.checkout)
    return subprocess.check_output(["git", "-C", checkout, "rev-parse", "HEAD"], text=True).strip()


def kept(pod: Any) -> list[Path]:
    return sorted(pod.root.glob("musubi-tuner.kept-*"))


def test_a_ref_is_looked_for_as_tag_then_branch_and_a_full_id_as_commit() -> None:
    assert candidates("v1") == ("refs/tags/v1", "refs/remotes/origin/v1")
    assert candidates("a" * 40)[-1] == "a" * 40


@pytest.mark.parametrize("annotated", [False, True])
def test_a_tag_is_checked_out(clone: Any, annotated: bool) -> None:
    commit = clone.trainer.release("0.3.5", "v0.3.5", annotated)
    clone.trainer.release("0.3.6")
    assert clone.run(musubi_ref="v0.3.5", **QUICK) == 0 and head(clone) == commit
    assert clone.run(musubi_ref="v0.3.5", **QUICK) == 0 and clone.states["clone"] == "skipped"
    assert "moved" not in clone.message("clone")


def test_a_full_commit_id_is_accepted_even_where_no_branch_reaches_it(clone: Any) -> None:
    lost = clone.trainer.release("0.3.5")
    clone.trainer._git("reset", "--quiet", "--hard", "HEAD~1")
    assert clone.run(musubi_ref=lost, **QUICK) == 0 and head(clone) == lost


@pytest.mark.parametrize("ref", ["v9.9.9", "abc1234", "--upload-pack=x"])
def test_a_ref_that_is_nothing_is_the_requests_fault(clone: Any, ref: str) -> None:
    assert clone.run(musubi_ref=ref, **QUICK) == 2
    assert f'MUSUBI_REF is "{ref}"' in clone.last_words
    assert not clone.options.space.checkout.exists() and not list(clone.root.glob(".musubi-tuner*"))


def test_a_tag_that_moved_is_said_and_not_followed(clone: Any) -> None:
    clone.run(**QUICK)
    before = head(clone)
    moved = clone.trainer.release("0.3.4", "v0.3.4")
    assert clone.run(**QUICK) == 0
    assert head(clone) == before
    assert "v0.3.4 moved" in clone.message("clone") and moved in clone.message("clone")


def test_a_branch_is_followed(clone: Any) -> None:
    clone.run(musubi_ref="main", **QUICK)
    newer = clone.trainer.release("0.4.0")
    assert clone.run(musubi_ref="main", **QUICK) == 0 and head(clone) == newer
    assert not kept(clone)


def test_another_ref_replaces_a_clean_checkout(clone: Any) -> None:
    clone.run(**QUICK)
    newer = clone.trainer.release("0.4.0", "v0.4.0")
    assert clone.run(musubi_ref="v0.4.0", **QUICK) == 0 and head(clone) == newer
    assert not kept(clone) and not list(clone.root.glob(".musubi-tuner*"))


def test_local_changes_are_kept_and_named_when_the_ref_changes(clone: Any) -> None:
    clone.run(**QUICK)
    mine = clone.options.space.checkout / "src" / "musubi_tuner" / "zimage_train_network.py"
    mine.write_text("print('mine')\n")
    clone.trainer.release("0.4.0", "v0.4.0")
    assert clone.run(**QUICK) == 0 and mine.read_text() == "print('mine')\n"
    assert clone.run(musubi_ref="v0.4.0", **QUICK) == 0
    assert [(path / "src/musubi_tuner/zimage_train_network.py").read_text() for path in kept(clone)] == [
        "print('mine')\n"
    ]
    assert kept(clone)[0].name in clone.message("clone")


def test_a_commit_of_ones_own_is_kept(clone: Any) -> None:
    clone.run(**QUICK)
    checkout = clone.options.space.checkout
    who = ["-c", "user.name=t", "-c", "user.email=t@localhost"]
    subprocess.check_call(["git", "-C", str(checkout), *who, "commit", "-qm", "mine", "--allow-empty"])
    mine = head(clone)
    assert clone.run(**QUICK) == 0 and head(clone) != mine
    found = subprocess.check_output(["git", "-C", str(kept(clone)[0]), "rev-parse", "HEAD"], text=True)
    assert found.strip() == mine


def test_a_folder_that_is_no_checkout_is_left_alone(clone: Any) -> None:
    strange = clone.options.space.checkout
    strange.mkdir(parents=True)
    (strange / "notes.txt").write_text("keep me")
    assert clone.run(**QUICK) == 3
    assert "not a git checkout" in clone.last_words and (strange / "notes.txt").read_text() == "keep me"


def test_a_repository_that_is_not_there_is_named(clone: Any) -> None:
    assert clone.run(musubi_repo_url=clone.trainer.url + "-gone", **QUICK) == 3
    assert "could not be cloned" in clone.last_words and "MUSUBI_REPO_URL" in clone.last_words


def test_a_connection_that_breaks_is_tried_again_and_then_named(clone: Any) -> None:
    assert clone.run(musubi_repo_url="http://127.0.0.1:9/musubi-tuner.git", **QUICK) == 3
    assert clone.log.count(" clone --filter") == clone.options.attempts
    assert "could not be cloned" in clone.last_words


def test_a_checkout_of_ours_that_the_state_does_not_know_yet_is_no_one_elses(clone: Any) -> None:
    clone.run(**QUICK)
    state = clone.options.space.state / "bootstrap.json"
    values = json.loads(state.read_text())
    del values["done"]["clone"]
    state.write_text(json.dumps(values))
    assert clone.run(**QUICK) == 0 and clone.states["clone"] == "done"
    assert not kept(clone)


@pytest.mark.parametrize("kind", ["a commit on a branch", "a stash", "an ignored file"])
def test_work_that_a_status_does_not_show_is_kept(clone: Any, kind: str) -> None:
    clone.run(**QUICK)
    checkout = clone.options.space.checkout
    git = ["git", "-C", str(checkout), "-c", "user.name=t", "-c", "user.email=t@localhost"]
    file = checkout / "src" / "musubi_tuner" / "convert_lora.py"
    if kind == "an ignored file":
        (checkout / ".git" / "info" / "exclude").open("a").write("/logs/\n")
        (checkout / "logs").mkdir()
        (checkout / "logs" / "mine.txt").write_text("mine")
    else:
        file.write_text("print('mine')\n")
        steps = [["stash"]] if kind == "a stash" else [["switch", "-qc", "mine"], ["commit", "-qam", "mine"]]
        for words in [*steps, ["switch", "-q", "--detach", "v0.3.4"]]:
            subprocess.run([*git, *words], check=True, capture_output=True)
    clone.trainer.release("0.4.0", "v0.4.0")
    assert clone.run(musubi_ref="v0.4.0", **QUICK) == 0, clone.last_words
    assert len(kept(clone)) == 1


def test_the_images_own_checkout_is_taken_without_the_network(clone: Any, tmp_path: Path) -> None:
    baked = tmp_path / "baked"
    subprocess.run(["git", "clone", "-q", clone.trainer.url, str(baked)], check=True)
    first, newer = clone.trainer.commit, clone.trainer.release("0.4.0", "v0.4.0")
    gone = clone.trainer.folder.rename(tmp_path / "out-of-reach")
    assert clone.run(baked_checkout=baked, **QUICK) == 0, clone.last_words
    assert head(clone) == first != newer
    assert "that the image carries" in clone.message("clone")
    assert clone.run(baked_checkout=baked, **QUICK) == 0 and clone.states["clone"] == "skipped"
    gone.rename(clone.trainer.folder)
    assert clone.run(baked_checkout=baked, musubi_ref="v0.4.0", **QUICK) == 0 and head(clone) == newer


def test_a_baked_checkout_of_another_repository_is_not_taken(clone: Any, tmp_path: Path) -> None:
    fork = tmp_path / "fork"
    shutil.copytree(clone.trainer.folder, fork)
    baked = tmp_path / "baked"
    subprocess.run(["git", "clone", "-q", fork.as_uri(), str(baked)], check=True)
    assert clone.run(baked_checkout=baked, **QUICK) == 0
    assert "that the image carries" not in clone.message("clone")


def test_user_and_password_become_a_header_of_that_host_alone() -> None:
    url, given = without_credentials("https://me:p%40ss@example.org/a.git", {"GIT_CONFIG_COUNT": "1"})
    assert url == "https://example.org/a.git"
    word = base64.b64encode(b"me:p@ss").decode()
    assert given == {
        "GIT_CONFIG_COUNT": "2",
        "GIT_CONFIG_KEY_1": "http.https://example.org/.extraHeader",
        "GIT_CONFIG_VALUE_1": f"Authorization: Basic {word}",
    }
    for plain in ("https://example.org/a.git", "git@example.org:a.git", "ssh://git@example.org/a", "/a/b"):
        assert without_credentials(plain, {}) == (plain, {})


@contextmanager
def private_repository(folder: Path, password: str) -> Iterator[str]:
    """Serve bare repositories over git's plain HTTP protocol to those who know the password."""

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            word = base64.b64encode(f"{password}:".encode()).decode()
            if self.headers["Authorization"] == f"Basic {word}":
                super().do_GET()
            else:
                self.send_response(401)
                self.send_header("WWW-Authenticate", "Basic")
                self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def test_a_token_in_the_address_reaches_git_and_no_file(clone: Any, tmp_path: Path) -> None:
    bare = tmp_path / "served" / "private.git"
    subprocess.run(["git", "clone", "-q", "--bare", clone.trainer.url, str(bare)], check=True)
    subprocess.run(["git", "-C", str(bare), "update-server-info"], check=True)
    with private_repository(bare.parent, "tok_private123") as host:
        url = f"http://tok_private123@{host}/private.git"
        assert clone.run(musubi_repo_url=url, **QUICK) == 0, clone.last_words
        assert clone.run(musubi_repo_url=url, **QUICK) == 0 and clone.states["clone"] == "skipped"
    files = [path for path in clone.root.rglob("*") if path.is_file()]
    assert files and not [path for path in files if b"tok_private123" in path.read_bytes()]
    assert f"http://{host}/private.git" in clone.log and "***" not in clone.log
