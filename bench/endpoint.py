"""How much `musabi serve` holds, and how soon a trainer starts after a request.

    python bench/endpoint.py [JOBS] [POLLERS]

First a server on loopback whose work is a stand-in (tests/peers/standin_work.py: no training) gets JOBS jobs at
once (200), and POLLERS clients (50) ask for their status until all have ended. Printed are errors (meant to be
0), how long /status took, and the server's memory. Then warm_endpoint.py measures the real work.
"""

import asyncio
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import warm_endpoint

ROOT = Path(__file__).parents[1]
SERVER = ROOT / "tests" / "peers" / "serve_with_standin.py"
KEY = "a-key-of-the-benchmark"
GPUS = 4
PAUSE_SECONDS = 0.2
LIMIT_SECONDS = 300.0
ENDED = frozenset({"COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"})
REQUEST: dict[str, Any] = {
    "model_type": "qwen",
    "dataset": {
        "type": "precaptioned",
        "images_url": "https://example.com/images.zip",
        "trigger_word": "steps=3 each=0.05",
    },
    "output": {
        "method": "huggingface",
        "huggingface": {"token": "hf_of_the_benchmark", "repo_id": "user/lora"},
    },
}


@dataclass
class Tally:
    """What the clients saw. `waits` are the seconds that each /status took, `sends` each /run."""

    waits: list[float] = field(default_factory=list)
    sends: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    ended: dict[str, str] = field(default_factory=dict)


def main() -> None:
    """Measure both and print what was seen."""
    words = sys.argv[1:]
    jobs, pollers = (int(words[at]) if len(words) > at else usual for at, usual in ((0, 200), (1, 50)))
    with tempfile.TemporaryDirectory() as folder:
        print(hold(Path(folder), jobs, pollers), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        print(warm_endpoint.measure(Path(folder)))


def hold(folder: Path, jobs: int, pollers: int) -> str:
    """Start a server, load it, end it; return what was seen in one line."""
    environment = os.environ | {"MUSABI_API_KEY": KEY, "STANDIN_GPUS": str(GPUS)}
    server = subprocess.Popen(
        [sys.executable, str(SERVER), str(folder)], stdout=subprocess.PIPE, text=True, env=environment
    )
    try:
        assert server.stdout is not None
        found = re.search(r"http://[\d.:]+", server.stdout.readline())
        assert found is not None
        before = memory_mb(server.pid)
        begun = time.monotonic()
        tally = asyncio.run(load(found[0], jobs, pollers))
        seconds, after, cpu = time.monotonic() - begun, memory_mb(server.pid), cpu_seconds(server.pid)
    finally:
        server.terminate()
        server.wait(timeout=60)
    done = sum(state == "COMPLETED" for state in tally.ended.values())
    return (
        f"{jobs} jobs, {pollers} pollers, {GPUS} slots: {done} completed in {seconds:.0f} s, "
        f"{len(tally.errors)} errors {tally.errors[:3] or ''}\n"
        f"/run    median {ms(tally.sends, 50)}, 95th {ms(tally.sends, 95)}\n"
        f"/status median {ms(tally.waits, 50)}, 95th {ms(tally.waits, 95)}, {len(tally.waits) / seconds:.0f} a second\n"
        f"server  {before:.0f} MB before, {after:.0f} MB after, {cpu:.1f} s of CPU"
    )


async def load(url: str, jobs: int, pollers: int) -> Tally:
    """Send the jobs and poll until all have ended."""
    tally = Tally()
    limits = httpx.Limits(max_connections=pollers, max_keepalive_connections=pollers)
    headers = {"Authorization": f"Bearer {KEY}"}
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=30, limits=limits) as client:
        ids = [one for one in await asyncio.gather(*(send(client, tally) for _ in range(jobs))) if one]
        deadline = time.monotonic() + LIMIT_SECONDS
        await asyncio.gather(*(poll(client, ids, tally, deadline) for _ in range(pollers)))
    return tally


async def send(client: httpx.AsyncClient, tally: Tally) -> str | None:
    """Send one job; return its id."""
    answer = await timed(client, "POST", "/run", tally.sends, tally.errors, json={"input": REQUEST})
    return None if answer is None else str(answer["id"])


async def poll(client: httpx.AsyncClient, ids: list[str], tally: Tally, deadline: float) -> None:
    """Ask for the status of one job after another that has not ended."""
    while (left := [one for one in ids if one not in tally.ended]) and time.monotonic() < deadline:
        job_id = random.choice(left)  # noqa: S311 - no secret
        answer = await timed(client, "GET", f"/status/{job_id}", tally.waits, tally.errors)
        if answer is not None and answer["status"] in ENDED:
            tally.ended[job_id] = answer["status"]
        await asyncio.sleep(PAUSE_SECONDS)


async def timed(
    client: httpx.AsyncClient,
    method: str,
    path: str,
    seconds: list[float],
    errors: list[str],
    **more: Any,  # noqa: ANN401 - as httpx
) -> dict[str, Any] | None:
    """Return an answer, or None where there was an error; note how long it took."""
    begun = time.monotonic()
    try:
        answer = await client.request(method, path, **more)
    except httpx.HTTPError as problem:
        errors.append(type(problem).__name__)
        return None
    seconds.append(time.monotonic() - begun)
    if answer.status_code != 200:
        errors.append(f"{answer.status_code} {path}")
        return None
    found: dict[str, Any] = answer.json()
    return found


def ms(seconds: list[float], percent: int) -> str:
    """Return a percentile in milliseconds."""
    return f"{1000 * statistics.quantiles(seconds, n=100)[percent - 1]:.1f} ms" if len(seconds) > 1 else "-"


def memory_mb(pid: int) -> float:
    """Return a process's resident memory in MB."""
    text = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(text.partition("VmRSS:")[2].split()[0]) / 1000


def cpu_seconds(pid: int) -> float:
    """Return what a process, without its children, has used of the cores (proc(5), fields 14 and 15)."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
