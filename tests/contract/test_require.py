"""A whole plan beside the surface: one error with everything, or notes."""

from dataclasses import replace

import pytest

from musabi.contract import Script, committed, require_accepted
from musabi.errors import MachineError, RequestError

CACHE = ("zimage_cache_latents.py", ["--dataset_config", "a.toml", "--vae", "vae.safetensors"])
TRAIN = ("zimage_train_network.py", ["--dit", "dit.safetensors", "--sdpa"])


def test_a_plan_that_is_taken_gives_its_notes() -> None:
    assert require_accepted(committed(), [CACHE, TRAIN]) == ()
    script, argv = TRAIN
    notes = require_accepted(committed(), [CACHE, (script, [*argv, "--seed", "1", "--seed", "2"])])
    assert notes == ("--seed is given to zimage_train_network.py more than once, and the last counts: 2.",)


def test_all_faults_of_a_plan_are_one_error() -> None:
    plan = [(CACHE[0], ["--vae", "v"]), (TRAIN[0], [*TRAIN[1], "--seed", "x"])]
    with pytest.raises(RequestError) as caught:
        require_accepted(committed(), [*plan, plan[0]])
    assert str(caught.value).splitlines() == [
        "The installed zimage_cache_latents.py needs --dataset_config, and it is not given. "
        "Add --dataset_config with a value.",
        'The installed zimage_train_network.py takes a whole number for --seed, not "x".',
    ]


def test_an_older_trainer_is_the_machines_fault() -> None:
    script = committed().scripts[TRAIN[0]]
    fewer = Script(script.file, {flag: one for flag, one in script.options.items() if flag != "--sdpa"})
    older = replace(
        committed(), version="0.2.9", commit="abcdef1234", fingerprint="other", scripts={TRAIN[0]: fewer}
    )
    with pytest.raises(
        MachineError, match=r"musubi-tuner 0\.2\.9 \(abcdef1\) differs .* musabi contract --diff"
    ):
        require_accepted(older, [TRAIN])
    with pytest.raises(RequestError, match="--nonsense"):
        require_accepted(older, [(TRAIN[0], ["--nonsense"])])
    with pytest.raises(MachineError, match="has no script"):
        require_accepted(older, [CACHE])
