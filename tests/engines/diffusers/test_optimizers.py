"""Optimizer and schedule names and arguments, as musubi-tuner takes them."""

from typing import Any

import pytest

from musabi.errors import RequestError


def make(name: str, *given: str) -> Any:
    import torch

    from musabi.engines.diffusers import optimizers

    parameter = torch.nn.Parameter(torch.ones(2))
    return optimizers.make_optimizer(name, [parameter], 1.0, given, torch.device("cpu"))


def test_arguments_are_python_literals() -> None:
    optimizer, name, _ = make("prodigyopt.Prodigy", "betas=0.9,0.99", "safeguard_warmup=True", "d_coef=0.5")
    group = optimizer.param_groups[0]
    assert (group["betas"], group["safeguard_warmup"], group["d_coef"]) == ((0.9, 0.99), True, 0.5)
    assert name == "prodigyopt.prodigy.Prodigy(betas=(0.9, 0.99),safeguard_warmup=True,d_coef=0.5)"


@pytest.mark.parametrize("argument", ["decouple", "decouple=yes", "betas=(0.9"])
def test_an_argument_of_another_form_is_refused(argument: str) -> None:
    with pytest.raises(RequestError, match="must be name=value with a Python literal"):
        make("prodigyopt.Prodigy", argument)


def test_an_argument_that_the_optimizer_does_not_take_is_refused() -> None:
    with pytest.raises(RequestError, match=r"AdamW doesn't take these arguments \(d_coef=1\)"):
        make("AdamW", "d_coef=1")


def test_an_unknown_optimizer_names_the_engine_that_may_have_it() -> None:
    with pytest.raises(RequestError, match=r"has no optimizer Lion; .*The musubi engine has others"):
        make("Lion")


def test_schedules_are_refused_where_they_can_not_be() -> None:
    from musabi.engines.diffusers import optimizers

    optimizer, _, _ = make("AdamW")
    with pytest.raises(RequestError, match="has no schedule rex"):
        optimizers.make_schedule("rex", optimizer, 0, 10, 1)
    with pytest.raises(RequestError, match="constant has no warm-up"):
        optimizers.make_schedule("constant", optimizer, 5, 10, 1)
