"""musubi-tuner's source at the pinned ref.

A checkout is never changed in place: a new one is made beside it and renamed, so that a kill leaves a whole
one or none. The old one is deleted only where nothing in it is anybody's own work; else it is kept under
another name, and that is said. A branch is followed, a tag is not: a tag that moved is named, and what was
checked out stays. An image may carry a checkout: where it is of the same repository and knows the ref, it is
copied, and the network is not asked.
"""

import base64
import re
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from musabi.children import ask, scrub
from musabi.errors import MachineError, RequestError
from musabi.pod.bootstrap.options import BootstrapOptions
from musabi.pod.bootstrap.stage import Context, Facts, Proof, Stage, Work, is_disk_full, is_network, last_line

COMMIT = re.compile(r"[0-9a-f]{40}")
LOOK_SECONDS = 10
# Transfers slower than 1 kB/s for a minute end with an error that is tried again.
GIT = ("git", "-c", "safe.directory=*", "-c", "advice.detachedHead=false")
PATIENCE = ("-c", "http.lowSpeedLimit=1000", "-c", "http.lowSpeedTime=60")
# What our own work leaves in a checkout must not count as somebody's change.
EXCLUDED = "/.venv\n__pycache__/\n*.egg-info/\n"
OWN_IGNORED = re.compile(r"(^|/)(\.venv|__pycache__|[^/]*\.egg-info)/?$")
# In a checkout of ours: the commit that we checked out. The state file knows it only a moment later.
OWN_COMMIT = Path(".git") / "musabi-commit"


def candidates(ref: str) -> tuple[str, ...]:
    """Return the names under which git may know a ref, in the order they are tried: tag, branch, commit."""
    names = (f"refs/tags/{ref}", f"refs/remotes/origin/{ref}")
    return (*names, ref) if COMMIT.fullmatch(ref) else names


def without_credentials(url: str, environment: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """Return an http(s) address without user and password, and the variables that give them to git.

    So they stand on no command line and in no checkout's configuration (git-config(1), GIT_CONFIG_COUNT).
    """
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    if parts.scheme not in ("http", "https") or not at:
        return url, {}
    word = base64.b64encode(unquote(user if ":" in user else f"{user}:").encode()).decode()
    number = int(environment.get("GIT_CONFIG_COUNT") or 0)
    return parts._replace(netloc=host).geturl(), {
        "GIT_CONFIG_COUNT": str(number + 1),
        f"GIT_CONFIG_KEY_{number}": f"http.{parts.scheme}://{host}/.extraHeader",
        f"GIT_CONFIG_VALUE_{number}": f"Authorization: Basic {word}",
    }


def _repository(options: BootstrapOptions) -> tuple[str, dict[str, str]]:
    """Return the repository's address for a command line, and the environment that git needs for it."""
    url, credentials = without_credentials(options.musubi_repo_url, options.child_environment)
    return url, options.child_environment | credentials


def _depends_on(context: Context) -> Any:  # noqa: ANN401 - any JSON value
    return [context.options.musubi_repo_url, context.options.musubi_ref]


def _proof(context: Context, facts: Facts) -> Proof:
    if head_of(context, context.options.space.checkout) != facts["commit"]:
        return Proof(False)
    remote = _remote_commits(context)
    tag, branch = remote.get("tag"), remote.get("branch")
    if tag is not None and tag != facts["commit"]:
        return Proof(True, moved_tag(context.options.musubi_ref, facts["commit"], tag))
    if tag is None and branch is not None:
        return Proof(branch == facts["commit"])
    return Proof(True)


def moved_tag(ref: str, here: str, there: str) -> str:
    """Say that a tag names another commit than it did."""
    return (
        f"the tag {ref} moved: it named {here[:12]}, which stays checked out, and names {there[:12]} now. "
        f"Set MUSUBI_REF={there} if you trust the new one"
    )


def _remote_commits(context: Context) -> dict[str, str]:
    """Return the commits that the ref names at the repository now, as far as it answers within seconds."""
    ref = context.options.musubi_ref
    if COMMIT.fullmatch(ref):
        return {}
    names = {f"refs/tags/{ref}^{{}}": "tag", f"refs/tags/{ref}": "tag", f"refs/heads/{ref}": "branch"}
    url, environment = _repository(context.options)
    answer = ask([*GIT, "ls-remote", "--", url, *names], environment, limit_s=LOOK_SECONDS)
    found: dict[str, str] = {}
    # An annotated tag comes twice; the line with ^{} names the commit, and comes last.
    for line in (answer or "").splitlines():
        commit, _, name = line.partition("\t")
        if name in names:
            found[names[name]] = commit
    return found


def _clone(work: Work) -> Facts:
    checkout = work.options.space.checkout
    ref = work.options.musubi_ref
    old = work.context.volume.done("clone")

    def fill(part: Path) -> str:
        if not _copy_baked(work, part):
            _fetch(work, part)
        commit = _check_out(work, part)
        if not (part / "pyproject.toml").is_file():
            raise RequestError(
                f"MUSUBI_REPO_URL at {ref} holds no pyproject.toml, so it can't be installed. "
                "Point it at musubi-tuner or a fork of it."
            )
        return commit

    commit = new_checkout(work, checkout, fill, old["facts"] if old else None)
    facts = {"commit": commit, "ref": ref, "url": scrub(work.options.musubi_repo_url)}
    before = old["facts"] if old else {}
    same_tag = before.get("ref") == ref and before.get("url") == facts["url"]
    if same_tag and before.get("commit") != commit:
        work.say(f"{ref} moved from {before['commit'][:12]} to {commit[:12]}")
    return facts


def new_checkout(work: Work, checkout: Path, fill: Callable[[Path], str], known: Facts | None) -> str:
    """Make a new checkout beside the old one and put it in its place once it is whole; return its commit.

    `fill` makes it in the folder that it is given and returns the commit; `known` are the facts of the stage that
    made the old one.

    Raises:
        MachineError: something that is no checkout is in the way.
    """
    _refuse_strange_folder(checkout)
    for leftover in checkout.parent.glob(f".{checkout.name}.*.part"):
        shutil.rmtree(leftover, ignore_errors=True)
    part = checkout.with_name(f".{checkout.name}.{time.time_ns()}.part")
    try:
        commit = fill(part)
        with (part / ".git" / "info" / "exclude").open("a", encoding="utf-8") as exclude:
            exclude.write(EXCLUDED)
        (part / OWN_COMMIT).write_text(commit, "utf-8")
        _replace(work, part, checkout, known)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return commit


def _refuse_strange_folder(checkout: Path) -> None:
    if checkout.is_symlink() or (checkout.exists() and not checkout.is_dir()):
        raise MachineError(
            f"{checkout} is in the way: it is no folder. Move it away and run musabi bootstrap again."
        )
    if checkout.is_dir() and any(checkout.iterdir()) and not (checkout / ".git").exists():
        raise MachineError(
            f"{checkout} is not a git checkout, so it was left alone. "
            "Move it away and run musabi bootstrap again."
        )


def _copy_baked(work: Work, part: Path) -> bool:
    """Copy the image's own checkout where it is of this repository and knows the ref."""
    baked = work.options.baked_checkout
    if not (baked / ".git").is_dir():
        return False
    url, environment = _repository(work.options)
    origin = ask([*GIT, "-C", str(baked), "remote", "get-url", "origin"], environment)
    known = (_commit(work.context, baked, name) for name in candidates(work.options.musubi_ref)[::2])
    if origin is None or origin.strip() != url or not any(known):
        return False
    work.say("taking the checkout that the image carries")
    shutil.copytree(baked, part, symlinks=True)
    return True


def _fetch(work: Work, part: Path) -> None:
    url, environment = _repository(work.options)
    argv = [*GIT, *PATIENCE, "clone", "--filter=blob:none", "--no-checkout", "--quiet", "--", url, str(part)]
    for attempt in range(1, work.options.attempts + 1):
        outcome = work.run(argv, None, **environment)
        if outcome.done:
            return
        shutil.rmtree(part, ignore_errors=True)
        if is_disk_full(outcome):
            raise MachineError(
                f"The disk of {part.parent} is full. Make room and run musabi bootstrap again."
            )
        if not is_network(outcome) or attempt == work.options.attempts:
            raise MachineError(
                f"musubi-tuner could not be cloned from {scrub(url)}: {last_line(outcome)}. "
                "Check MUSUBI_REPO_URL and the network, then run musabi bootstrap again."
            )
        work.say(f"cloning again ({last_line(outcome)})")
        work.pause(work.options.access.delay(attempt))


def _check_out(work: Work, part: Path) -> str:
    """Check the ref out and return its commit."""
    ref = work.options.musubi_ref
    git = [*GIT, *PATIENCE, "-C", str(part)]
    environment = _repository(work.options)[1]
    if COMMIT.fullmatch(ref) and _commit(work.context, part, ref) is None:
        # A commit that no branch or tag reaches can still be asked for by its id.
        work.run([*git, "fetch", "--filter=blob:none", "--quiet", "origin", ref], None, **environment)
    found = (_commit(work.context, part, name) for name in candidates(ref))
    commit = next((commit for commit in found if commit is not None), None)
    if commit is None:
        raise RequestError(
            f'MUSUBI_REF is "{ref}", which is no tag, branch or full commit id of '
            f"{scrub(work.options.musubi_repo_url)}. Unset it for the default, v0.3.4."
        )
    for attempt in range(1, work.options.attempts + 1):
        outcome = work.run([*git, "checkout", "--quiet", "--force", "--detach", commit], None, **environment)
        if outcome.done:
            return commit
        if not is_network(outcome):
            break
        work.pause(work.options.access.delay(attempt))
    raise MachineError(
        f"musubi-tuner {ref} could not be checked out: {last_line(outcome)}. "
        "Check disk and network, then run musabi bootstrap again."
    )


def _replace(work: Work, part: Path, checkout: Path, known: Facts | None) -> None:
    """Put a new checkout in the old one's place; the old one is kept aside where it holds somebody's work."""
    if checkout.is_dir() and any(checkout.iterdir()):
        if _has_own_work(work.context, checkout, known):
            kept = checkout.with_name(f"{checkout.name}.kept-{time.strftime('%Y%m%d-%H%M%S')}")
            checkout.rename(kept)
            work.say(f"the checkout held local changes; it was kept as {kept}")
        else:
            gone = checkout.with_name(f".{checkout.name}.{time.time_ns()}.old.part")
            checkout.rename(gone)
            shutil.rmtree(gone, ignore_errors=True)
    part.rename(checkout)


def _has_own_work(context: Context, checkout: Path, known: Facts | None) -> bool:
    """Tell whether a checkout holds changes, or stands at a commit that we did not check out."""
    head = head_of(context, checkout)
    status = ask(
        [*GIT, "-C", str(checkout), "status", "--porcelain"], context.options.child_environment, limit_s=120
    )
    if head is None and not any(path.name != ".git" for path in checkout.iterdir()):
        return False
    ours: str | None
    try:
        ours = (checkout / OWN_COMMIT).read_text("utf-8")
    except OSError:
        ours = known["commit"] if known is not None else None
    return status is None or bool(status.strip()) or head != ours or _has_hidden_work(context, checkout)


def _has_hidden_work(context: Context, checkout: Path) -> bool:
    """Tell whether a checkout holds commits of its own, a stash, or ignored files that are not ours."""
    git = [*GIT, "-C", str(checkout)]

    def said(*words: str) -> str:
        return ask([*git, *words], context.options.child_environment, limit_s=120) or ""

    ignored = (
        line[3:] for line in said("status", "--porcelain", "--ignored").splitlines() if line[:2] == "!!"
    )
    return bool(
        said("log", "--branches", "--not", "--remotes", "--tags", "--format=%h", "-1").strip()
        or said("rev-parse", "--quiet", "--verify", "refs/stash").strip()
        or any(not OWN_IGNORED.search(path) for path in ignored)
    )


def head_of(context: Context, checkout: Path) -> str | None:
    """Return the commit that a checkout stands at, or None where it is none."""
    return _commit(context, checkout, "HEAD") if (checkout / ".git").exists() else None


def _commit(context: Context, checkout: Path, name: str) -> str | None:
    argv = [*GIT, "-C", str(checkout), "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}"]
    answer = ask(argv, context.options.child_environment)
    return answer.strip() if answer else None


CLONE = Stage("clone", ("layout",), "volume", _depends_on, _proof, _clone)
