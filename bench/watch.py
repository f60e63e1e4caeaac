"""What the open run page costs the trainer: seconds per step with and without it, and the server's processor time.

    python bench/watch.py [--pairs N] [--minute SECONDS] [--epochs N]

Trains the small model with the embedded engine, each pair once with nobody looking and once with the run page
open: a client on the pod's page and one on the run's, which the server looks at every 2 seconds. Who comes
first changes from pair to pair. Prints every pair, the medians, how far pairs lie apart, and what share of a
core the server takes over a minute beside a training: at most 1 % with one page open.
"""

import argparse
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

TARGET_SHARE = 0.01
LIMIT_SECONDS = 600.0
START = ("-m", "musabi", "page", "--no-browser", "--port", "0")
ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+/\?token=\S+")
ONE_PAGE = "the run's page is open"
UNCOUNTED = 20
"""Steps at the start of a training that are slower than the others."""


def environment(root: Path) -> dict[str, str]:
    """Return the environment of the trainings and of the server."""
    return os.environ | {
        "WORKSPACE": str(root),
        "HF_HOME": str(root / ".cache" / "huggingface"),
        "MUSABI_STATE_DIR": str(root / "state"),
        "ENGINE": "diffusers",
        "NETWORK_DIM": "4",
        "SAVE_EVERY_N_EPOCHS": "1000",
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_NUM_THREADS": "1",
    }


def musabi(env: dict[str, str], *words: str) -> None:
    """Run a verb to its end."""
    argv = [sys.executable, "-m", "musabi", *words]
    subprocess.run(argv, env=env, check=True, stdout=subprocess.DEVNULL, timeout=LIMIT_SECONDS)


def prepare(root: Path, env: dict[str, str]) -> None:
    """Make the small model, a drawn dataset and its caches."""
    from musabi.engines.diffusers.demo_data import make_demo_dataset
    from musabi.workspace import Workspace

    musabi(env, "models", "make-tiny")
    make_demo_dataset(Workspace(root), seed=1)
    (root / "dataset" / "sample_prompts.txt").unlink()
    musabi(env, "prepare")


@contextmanager
def training(env: dict[str, str], name: str, epochs: int) -> Iterator["subprocess.Popen[bytes]"]:
    """A training at work; ended with the block."""
    argv = [sys.executable, "-m", "musabi", "train", "--json"]
    more = {"OUTPUT_NAME": name, "MAX_TRAIN_EPOCHS": str(epochs)}
    child = subprocess.Popen(argv, env=env | more, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        yield child
    finally:
        if child.poll() is None:
            musabi(env, "stop")  # the run outlives the command that looks at it
        child.wait(timeout=LIMIT_SECONDS)


def step_times(root: Path, name: str) -> list[float]:
    """Return when each step of a run ended, in Unix seconds."""
    found: dict[int, float] = {}
    for file in (root / "runs").glob(f"{name}-*/events.jsonl"):
        for line in file.read_text(encoding="utf-8").splitlines():
            event = json.loads(line)
            if event.get("phase") == "train" and "loss" in event and "step" in event and "kind" not in event:
                found.setdefault(event["step"], event["t"])
    return [found[step] for step in sorted(found)]


def seconds_per_step(root: Path, env: dict[str, str], name: str, epochs: int) -> float:
    """Train to the end; return the mean seconds of a step, the first ones left out."""
    with training(env, name, epochs) as child:
        if child.wait(timeout=LIMIT_SECONDS) != 0:
            sys.exit("the training failed")
    times = step_times(root, name)[UNCOUNTED:]
    return (times[-1] - times[0]) / (len(times) - 1)


class Page:
    """A running server, and clients that look at it as browsers do."""

    def __init__(self, env: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, *START], env=env, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        line = ""
        while not (found := ADDRESS.search(line)):
            line = self.process.stdout.readline() if self.process.stdout else ""
            if not line:
                sys.exit("the run page did not start")
        self.login = found[0]
        self.stop = threading.Event()
        self.lookers: list[threading.Thread] = []

    def look(self, page: str, query: str = "") -> None:
        """Open a page and stay on it: its HTML once, then its stream, again and again by Last-Event-ID."""
        self.lookers.append(threading.Thread(target=self._look, args=(page, query), daemon=True))
        self.lookers[-1].start()

    def _look(self, page: str, query: str) -> None:
        last = ""
        with httpx.Client(timeout=10, follow_redirects=True) as client:
            client.get(self.login)
            base = self.login.partition("?")[0]
            client.get(f"{base}{page}?{query}").raise_for_status()
            while not self.stop.is_set():
                try:
                    with client.stream(
                        "GET", f"{base}live?page={page}&{query}", headers={"last-event-id": last}
                    ) as events:
                        for line in events.iter_lines():
                            if line.startswith("id: "):
                                last = line.removeprefix("id: ")
                            if self.stop.is_set():
                                return
                except httpx.TransportError:
                    time.sleep(0.5)

    def cpu_seconds(self) -> float:
        """Return the processor time of the server so far, its threads included."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def share(self, seconds: float) -> float:
        """Return the share of a core that the server takes over so many seconds."""
        begun, before = time.monotonic(), self.cpu_seconds()
        time.sleep(seconds)
        return (self.cpu_seconds() - before) / (time.monotonic() - begun)

    def end(self) -> None:
        """End the server and its lookers."""
        self.stop.set()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(20)
        for one in self.lookers:
            one.join(10)


@contextmanager
def looked_at(root: Path, env: dict[str, str], name: str) -> Iterator[Page]:
    """The server with a client on the pod's page and one on the page of the run of that name, once it is there."""
    page = Page(env)
    try:
        page.look("pod")
        threading.Thread(target=_look_at_run, args=(root, page, name), daemon=True).start()
        yield page
    finally:
        page.end()


def _look_at_run(root: Path, page: Page, name: str) -> None:
    while not page.stop.wait(0.2):
        found = sorted((root / "runs").glob(f"{name}-*/record.json"))
        if found:
            page.look("run", f"id={found[-1].parent.name}")
            return


def pairs(root: Path, env: dict[str, str], number: int, epochs: int) -> list[tuple[float, float]]:
    """Return (seconds per step alone, with the page open) of so many pairs, each printed as it is known."""
    found = []
    for turn in range(number + 1):
        alone, watched = 0.0, 0.0
        for way in ("alone", "watched") if turn % 2 == 0 else ("watched", "alone"):
            name = f"{way}{turn}"
            if way == "alone":
                alone = seconds_per_step(root, env, name, epochs)
            else:
                with looked_at(root, env, name):
                    watched = seconds_per_step(root, env, name, epochs)
        word = "warm-up" if turn == 0 else f"pair {turn}"
        print(f"{word}: alone {alone * 1000:.1f} ms a step, watched {watched * 1000:.1f} ms", flush=True)
        if turn:
            found.append((alone, watched))
    return found


def shares(root: Path, env: dict[str, str], seconds: float) -> dict[str, float]:
    """Return the share of a core that the server takes beside a training: nobody looks, one page, two pages."""
    found = {}
    with training(env, "long", 100_000):
        until = time.monotonic() + LIMIT_SECONDS
        while len(step_times(root, "long")) < UNCOUNTED and time.monotonic() < until:
            time.sleep(0.5)
        (run,) = (path.parent.name for path in (root / "runs").glob("long-*/record.json"))
        page = Page(env)
        try:
            for words, name, query in (
                ("nobody looks", "", ""),
                (ONE_PAGE, "run", f"id={run}"),
                ("the pod's page, too", "pod", ""),
            ):
                if name:
                    page.look(name, query)
                time.sleep(5)  # the first look reads everything
                found[words] = page.share(seconds)
        finally:
            page.end()
    return found


def main() -> None:
    """Time the pairs, then the server, and print what came of it."""
    wanted = argparse.ArgumentParser(description=__doc__)
    wanted.add_argument("--pairs", type=int, default=7)
    wanted.add_argument("--minute", type=float, default=60.0, help="seconds that the server is measured over")
    wanted.add_argument("--epochs", type=int, default=40)
    options = wanted.parse_args()
    with tempfile.TemporaryDirectory(prefix="musabi-bench-") as folder:
        root = Path(folder)
        env = environment(root)
        prepare(root, env)
        print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before the first pair", flush=True)
        found = pairs(root, env, options.pairs, options.epochs)
        taken = shares(root, env, options.minute)
    alone, watched = (statistics.median(column) for column in zip(*found, strict=True))
    ratios = sorted(after / before for before, after in found)
    apart = max(one for one, _ in found) / min(one for one, _ in found)
    print(
        f"median of {len(found)}: alone {alone * 1000:.1f} ms a step, watched {watched * 1000:.1f} ms a step"
    )
    print(
        f"ratio watched / alone: median {statistics.median(ratios):.3f}, from {ratios[0]:.3f} to {ratios[-1]:.3f}"
    )
    print(f"noise: the slowest training alone took {apart:.3f} times as long a step as the fastest")
    for words, share in taken.items():
        print(f"server, {words}: {share:.2%} of a core")
    if taken[ONE_PAGE] > TARGET_SHARE:
        sys.exit(1)


if __name__ == "__main__":
    main()
