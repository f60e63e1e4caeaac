"""Whether both caches are made at once."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from musabi.engines.musubi.side_by_side import caching_side_by_side
from musabi.job.facts import BucketFacts, CacheFacts, Facts, MachineFacts
from musabi.job.model import Job
from musabi.recipes import load, names

GIB = 1024**3
STALE = CacheFacts(expected=54, missing=54)


@pytest.fixture
def here(facts: Callable[..., Facts]) -> Callable[..., Facts]:
    """Make the facts of a machine where nothing is cached yet."""

    def make(gpu: int = 80, ram: int = 128, cpus: int = 8, **caches: CacheFacts) -> Facts:
        bucket = BucketFacts(1024, 1024, 54, 27)
        dataset = replace(facts().dataset, buckets=(bucket,), **({"latents": STALE, "text": STALE} | caches))
        machine = MachineFacts(gpus=(gpu * GIB,) if gpu else (), cpus=cpus, ram=ram * GIB)
        return replace(facts(), machine=machine, dataset=dataset)

    return make


def test_both_at_once_where_everything_is_large_enough(
    job: Callable[..., Job], here: Callable[..., Facts]
) -> None:
    at_once, why = caching_side_by_side(job(), here(), load("z-image"))
    assert at_once
    assert why == "both fit: about 18 of 75 GiB of GPU memory"


@pytest.mark.parametrize(
    ("machine", "why"),
    [
        ({"gpu": 12}, "GiB of GPU memory"),
        ({"ram": 16}, "main memory"),
        ({"ram": 0}, "main memory"),
        ({"cpus": 3}, "3 cores"),
        ({"gpu": 0}, "on the CPU"),
        ({"latents": CacheFacts(expected=54)}, "at most one"),
        ({"text": CacheFacts(expected=54)}, "at most one"),
    ],
)
def test_one_after_the_other_where_anything_is_too_small(
    machine: dict[str, object], why: str, job: Callable[..., Job], here: Callable[..., Facts]
) -> None:
    at_once, said = caching_side_by_side(job(), here(**machine), load("z-image"))
    assert not at_once
    assert why in said


@pytest.mark.parametrize(
    "caching", [{"run_latents": False}, {"run_text": False}, {"text_device": "cpu"}, {"latent_device": "cpu"}]
)
def test_a_step_that_is_off_or_on_the_cpu_runs_alone(
    caching: dict[str, object], job: Callable[..., Job], here: Callable[..., Facts]
) -> None:
    assert not caching_side_by_side(job(caching=caching), here(), load("z-image"))[0]


@pytest.mark.parametrize("name", names())
def test_a_machine_that_is_enough_stays_enough_when_it_grows(
    name: str, job: Callable[..., Job], here: Callable[..., Facts]
) -> None:
    made, recipe = job(model=name), load(name)
    answers = [caching_side_by_side(made, here(gpu=gib), recipe)[0] for gib in (12, 24, 48, 80, 141)]
    assert answers == sorted(answers)
    assert answers[-1]


def test_a_clip_counts_with_the_frames_that_are_encoded_at_once(
    job: Callable[..., Job], here: Callable[..., Facts]
) -> None:
    made, recipe, room = job(model="wan2.1-t2v-14b"), load("wan2.1-t2v-14b"), here(gpu=32)
    clips = replace(room.dataset, buckets=(BucketFacts(1024, 1024, 54, 27, frames=81),))
    assert caching_side_by_side(made, room, recipe)[0]
    assert not caching_side_by_side(made, replace(room, dataset=clips), recipe)[0]
