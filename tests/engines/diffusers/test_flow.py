"""The loss and the times that musubi-tuner trains Z-Image with."""

from typing import Any

import pytest


class Recorder:
    """Stands for the transformer: notes what it was given, and answers with a constant."""

    def __init__(self) -> None:
        import torch

        self.dtype = torch.float32
        self.given: Any = None

    def __call__(self, noisy: Any, times: Any, embeds: Any, return_dict: bool) -> Any:
        import torch

        self.given = (noisy, times, embeds)
        return ([torch.full_like(each, 0.5) for each in noisy],)


def test_latents_become_about_normal() -> None:
    import torch

    from musabi.engines.diffusers import flow

    assert float(flow.scaled(torch.tensor(0.1159))) == 0.0
    assert float(flow.scaled(torch.tensor(0.1159 + 1 / 0.3611))) == pytest.approx(1.0, abs=1e-5)


def test_times_follow_the_shifted_logistic_of_a_normal_draw() -> None:
    """Under shift s a draw is below t with the probability that a normal one is below logit(t) - ln(s)."""
    import torch

    from musabi.engines.diffusers import flow

    generator = torch.Generator().manual_seed(0)
    _, times = flow.draw((40_000, 1, 1, 1), generator, shift=2.0)
    for bound in (0.2, 0.5, 2 / 3, 0.9):
        wanted = torch.special.ndtr(torch.logit(torch.tensor(bound)) - torch.log(torch.tensor(2.0)))
        assert float((times < bound).float().mean()) == pytest.approx(float(wanted), abs=0.01)
    assert 0 < float(times.min()) < float(times.max()) < 1


def test_the_model_sees_one_minus_time_and_predicts_clean_minus_noise() -> None:
    import torch

    from musabi.engines.diffusers import flow

    model = Recorder()
    generator = torch.Generator().manual_seed(0)
    clean, noise = (
        torch.randn(2, 16, 4, 4, generator=generator),
        torch.randn(2, 16, 4, 4, generator=generator),
    )
    times = torch.tensor([0.25, 0.8])
    embeds = [torch.zeros(3, 8), torch.zeros(5, 8)]
    found = flow.loss(model, clean, noise, times, embeds)
    noisy, seen, _ = model.given
    assert noisy[0].shape == (16, 1, 4, 4)
    assert torch.allclose(noisy[0][:, 0], 0.75 * clean[0] + 0.25 * noise[0])
    assert torch.allclose(noisy[1][:, 0], 0.2 * clean[1] + 0.8 * noise[1], atol=1e-6)
    # musubi-tuner: timesteps = t * 1000 + 1, and the model gets (1000 - timesteps) / 1000.
    assert torch.allclose(seen, (1000 - (times * 1000 + 1)) / 1000)
    assert float(found) == pytest.approx(float(((0.5 - (clean - noise)) ** 2).mean()), rel=1e-5)


def test_batches_never_mix_buckets_and_follow_from_seed_and_epoch(cached: Any) -> None:
    from musabi.dataset.config import read_config
    from musabi.engines.diffusers.batches import Batches, load

    config = read_config(cached.toml)
    first, again, other = Batches(config, 1), Batches(config, 1), Batches(config, 2)
    assert first.per_epoch == 3
    for batch in first.epoch(1):
        assert len({example.bucket for example in batch}) == 1
    assert [first.epoch(n) for n in range(1, 9)] == [again.epoch(n) for n in range(1, 9)]
    assert [first.epoch(n) for n in range(1, 9)] != [other.epoch(n) for n in range(1, 9)]
    assert len({str(first.epoch(n)) for n in range(1, 9)}) > 1
    assert sorted(example.text.name for batch in first.epoch(3) for example in batch) == [
        f"robot{number}_zi_te.safetensors" for number in range(5)
    ]
    loaded = load(first.epoch(1)[0])
    assert loaded.latents.shape[1] == 16
    assert len(loaded.embeds) == loaded.latents.shape[0]


def test_repeats_come_in_every_epoch(dataset: Any) -> None:
    from musabi.dataset.config import read_config
    from musabi.engines.diffusers.batches import Batches

    dataset.toml.write_text(dataset.toml.read_text() + "num_repeats = 3\n")
    batches = Batches(read_config(dataset.toml), 1)
    assert (batches.items, batches.per_epoch) == (15, 5 + 3)
