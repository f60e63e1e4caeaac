"""The API's own examples: requests as they are sent, answers and updates as they are read.

wire/ holds what clients in the field send and read. Models and trainers that need a GPU are stood in for; the
embedded engine trains what needs none.
"""

import json
import os
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from musabi.commands.options import job_file_settings
from musabi.contract import committed
from musabi.engines.diffusion_pipe.places import PipePlaces
from musabi.engines.musubi.contract import Installed
from musabi.engines.musubi.engine import MusubiEngine
from musabi.job.facts import BucketFacts, CacheFacts, DatasetFacts, Facts, MachineFacts, TrainerFacts
from musabi.job.planner import plan_whole
from musabi.recipes import make_job
from musabi.serverless.answers import failed
from musabi.serverless.job_folder import JobFolder
from musabi.serverless.parts import EngineChoice, JobWeights
from musabi.serverless.places import Places
from musabi.serverless.request.engine_choice import choose_engine
from musabi.serverless.request.fields import TrainingRequest
from musabi.serverless.request.model import read_request
from musabi.serverless.request.secrets import split_secrets
from musabi.serverless.request.to_pipe import pipe_job
from musabi.serverless.request.to_settings import job_toml, untranslated
from peers import serve_with_standin
from peers.loopback_hub_uploads import UploadHub
from peers.monitoring_client import MonitoringClient
from peers.standin_diffusion_pipe import write_checkout
from serverless.conftest import EPOCHS, KEY, REPO, TOKEN, Endpoint
from serverless.request.examples import FILES

WIRE = Path(__file__).parent / "wire"
REQUESTS = sorted(path.stem for path in WIRE.glob("request_*.json"))
OUTPUTS = sorted(path.stem for path in WIRE.glob("output_*.json"))
GIB = 1024**3


def wire(name: str) -> dict[str, Any]:
    """Return an example."""
    value = json.loads((WIRE / f"{name}.json").read_text())
    assert isinstance(value, dict)
    return value


def read(given: dict[str, Any]) -> tuple[TrainingRequest, EngineChoice]:
    plain, secrets = split_secrets(given)
    request = read_request(plain, secrets=secrets)
    return request, choose_engine(request)


def shape(value: object) -> object:
    """Return what kind of value stands at each key: what a client relies on."""
    if isinstance(value, dict):
        return {name: shape(one) for name, one in value.items()}
    if isinstance(value, list):
        return [shape(one) for one in value[:1]]
    return type(value).__name__


def plan_argv(given: dict[str, Any], folder: Path) -> tuple[str, list[str]]:
    """Return the model and the training's command line that musubi-tuner gets, held against its contract."""
    request, choice = read(given)
    assert choice.engine == "musubi"
    file = folder / "job.toml"
    file.write_text(job_toml(request, choice, FILES, JobFolder(folder)))
    job = make_job(job_file_settings(file, {}))
    dataset = DatasetFacts(
        images=54,
        batches_per_epoch=54,
        buckets=(BucketFacts(1024, 1024, 54, 54),),
        fingerprint="f",
        latents=CacheFacts(expected=54),
        text=CacheFacts(expected=54),
    )
    trainer = TrainerFacts(
        python=Path("/tuner/.venv/bin/python"),
        root=Path("/tuner"),
        commit="30c658c" + "0" * 33,
        torch="2.9.1+cu128",
        packages=frozenset({"bitsandbytes", "prodigyopt", "tensorboard"}),
        contract=Installed(committed()),
    )
    facts = Facts(machine=MachineFacts(gpus=(80 * GIB,), cpus=8), dataset=dataset, trainer=trainer)
    plan = plan_whole(job, facts, MusubiEngine())
    (training,) = [step.argv for step in plan.steps if "--network_dim" in step.argv]
    return choice.model, list(training)


def is_path(value: object) -> bool:
    return isinstance(value, str) and value.startswith("/")


def after(argv: list[str], flag: str) -> str:
    return argv[argv.index(flag) + 1]


@pytest.mark.parametrize("output", [None, *OUTPUTS])
@pytest.mark.parametrize("name", [name for name in REQUESTS if "flux" not in name])
def test_a_request_becomes_the_command_line_of_musubi_tuner(
    name: str, output: str | None, tmp_path: Path
) -> None:
    given = wire(name)["input"] | (wire(output) if output else {})
    asked = given.get("training", {})
    model, argv = plan_argv(given, tmp_path)
    assert model == {"qwen": "qwen-image", "wan14b_t2v": "wan2.1-t2v-14b"}[given["model_type"]]
    assert after(argv, "--network_dim") == str(asked.get("lora_rank", 32))
    assert float(after(argv, "--network_alpha")) == asked.get("lora_rank", 32)
    assert after(argv, "--max_train_epochs") == str(asked.get("epochs", 100))
    assert after(argv, "--save_every_n_epochs") == str(asked.get("save_every_n_epochs", 10))
    assert float(after(argv, "--learning_rate")) == asked.get("learning_rate", 2e-5)
    accumulation = asked.get("gradient_accumulation_steps", 4)
    assert after(argv, "--gradient_accumulation_steps") == str(accumulation)
    assert after(argv, "--lr_warmup_steps") == "100"
    arguments = argv[argv.index("--optimizer_args") + 1 :][:3]
    assert arguments == ["betas=0.9,0.99", "weight_decay=0.01", "eps=1e-08"]


def test_nothing_that_an_example_asks_for_is_dropped_without_a_word() -> None:
    for name in REQUESTS:
        assert untranslated(*read(wire(name)["input"])) == (), name


def test_two_jobs_write_no_file_in_common(tmp_path: Path) -> None:
    """The original had one folder for all datasets and one dataset.toml, which workers wrote over."""
    request, choice = read(wire("request_qwen_simplest")["input"])
    folders = [JobFolder(Places(tmp_path).job(name)) for name in ("one", "two")]
    first, second = (
        {
            value
            for value in tomllib.loads(job_toml(request, choice, FILES, folder)).values()
            if is_path(value)
        }
        for folder in folders
    )
    assert len(first) == 4 and not first & second


def test_the_flux_example_is_trained_by_diffusion_pipe(tmp_path: Path) -> None:
    """The program is a stand-in that holds the TOML against a schema of its own."""
    request, choice = read(wire("request_flux_autocaption")["input"])
    assert (choice.engine, choice.title) == ("diffusion_pipe", "Flux")
    folder = JobFolder(tmp_path / "job")
    folder.images.mkdir(parents=True)
    for number in range(4):
        (folder.images / f"{number}.png").write_bytes(b"not looked at")
        (folder.images / f"{number}.txt").write_text("ohwx person, a photo")
    weights = tmp_path / "weights"
    weights.mkdir()
    folder.space.root.mkdir(parents=True)
    (folder.space.root / "diffusion-pipe").symlink_to(write_checkout(tmp_path / "checkout"))
    files = JobWeights({"diffusers_path": str(weights)}, tmp_path)
    pipe_job(request, choice, files, folder.images, None).write(folder.path)
    argv = [sys.executable, "-P", "-m", "musabi.engines.diffusion_pipe.run", str(folder.path)]
    environ = os.environ | {"STANDIN_STEP_SECONDS": "0"}
    ended = subprocess.run(argv, env=environ, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    made = sorted(path.name for path in folder.output.glob("*.safetensors"))
    assert made[-1] == "lora.safetensors" and len(made) == 80 // 10
    told = tomllib.loads(PipePlaces(folder.space).config.read_text())
    assert told["adapter"] | {"alpha": 32} == {"type": "lora", "rank": 32, "alpha": 32, "dtype": "bfloat16"}
    assert (told["model"]["type"], told["gradient_accumulation_steps"]) == ("flux", 4)


def test_a_failed_job_has_the_documented_keys() -> None:
    assert shape(failed("Description of what went wrong")) == shape(wire("response_failed"))


@pytest.fixture(scope="module")
def standin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    """`musabi serve` whose jobs are done by a stand-in that trains nothing."""
    made = Endpoint(
        tmp_path_factory.mktemp("standin"),
        {"PATH": os.environ["PATH"], "MUSABI_API_KEY": KEY},
        Path(serve_with_standin.__file__),
    )
    made.start()
    yield made
    made.signal(signal.SIGTERM)


@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_is_taken_as_it_is_written(name: str, standin: Endpoint) -> None:
    answer = standin.ask("POST", "/run", json=wire(name))
    assert shape(answer) == shape(wire("response_run")) and answer["status"] == "IN_QUEUE"
    assert standin.result(answer["id"])["status"] == "COMPLETED"


def test_runpods_own_client_speaks_to_it(standin: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    import runpod

    monkeypatch.setattr(runpod, "endpoint_url_base", f"{standin.url}/v2")
    endpoint = runpod.Endpoint("any-name", api_key=KEY)
    asked = wire("request_qwen_quickstart")
    job = endpoint.run(asked)
    assert job.output(timeout=20)["status"] == "success" and job.status() == "COMPLETED"
    assert endpoint.run_sync(asked["input"], timeout=30)["status"] == "success"  # it wraps a bare input
    wrong = {"input": asked["input"] | {"model_type": "sd15"}}
    answer = endpoint.run_sync(wrong, timeout=30)
    assert answer["status"] == "failed" and answer["error"].startswith(
        "Invalid model_type: sd15. Must be one of"
    )
    asked["input"]["dataset"]["trigger_word"] = "steps=200 each=0.05"
    long = endpoint.run(asked)
    assert long.status() in ("IN_QUEUE", "IN_PROGRESS")
    assert long.cancel() == {"id": long.job_id, "status": "CANCELLED"} and long.status() == "CANCELLED"
    assert set(endpoint.health()) >= {"jobs", "workers"}
    with pytest.raises(RuntimeError):
        runpod.Endpoint("any-name", api_key="another").health()


def updates_of(hub: UploadHub) -> list[dict[str, Any]]:
    files = hub.repos[REPO].files
    return [json.loads(files[name]) for name in sorted(files) if name.startswith("UPDATES/")]


whole_path = [pytest.mark.slow, pytest.mark.xdist_group("endpoint")]


class TestAJobThatWentWell:
    """A real training by the embedded engine, with the documented monitoring client beside it."""

    pytestmark = whole_path

    def test_its_answer_has_every_documented_key(self, done: dict[str, Any], hub: UploadHub) -> None:
        answer, documented = done["output"], wire("response_success")
        assert list(answer)[: len(documented)] == list(documented)
        output = documented.pop("output")
        assert {name: type(answer[name]) for name in documented} == {
            name: type(value) for name, value in documented.items()
        }
        link = f"{hub.url}/{REPO}/resolve/main/adapter_model.safetensors?download=true"
        addresses = {"download_url": link, "safetensors_url": link, "repo_url": f"{hub.url}/{REPO}"}
        assert {name: answer["output"][name] for name in output} == output | addresses
        assert (answer["epochs_completed"], answer["latest_epoch"]) == (EPOCHS, f"epoch{EPOCHS}")

    @pytest.mark.parametrize("name", ["update_0003_TRAINING", "update_0008_COMPLETE"])
    def test_its_updates_have_the_documented_keys_and_words(
        self, name: str, done: dict[str, Any], hub: UploadHub
    ) -> None:
        documented = wire(name)
        update = next(one for one in updates_of(hub) if one["status"] == documented["status"])
        assert shape(update) == shape(documented) and list(update) == list(documented)
        assert (update["job_id"], update["repo_id"]) == (done["id"], REPO)
        for key in ("instructions", "files_uploaded", "safetensors_files"):
            if key in documented["data"]:
                said, expected = update["data"][key], documented["data"][key]
                assert said[: len(expected)] == expected
        message = documented["data"]["message"].replace("Qwen Image", done["output"]["model_name"])
        assert update["data"]["message"] == message

    def test_the_monitoring_client_saw_its_course_and_has_the_link(
        self, done: dict[str, Any], watched: MonitoringClient, hub: UploadHub
    ) -> None:
        assert watched.result() == done["output"]["output"]["download_url"]
        assert watched.printed == [
            f"{one['status']}: {one['data'].get('message', '')}" for one in updates_of(hub)
        ]
        assert watched.printed[-1] == "COMPLETE: Training completed successfully!"

    def test_the_monitoring_client_raises_the_error_of_a_job_that_failed(
        self, endpoint: Endpoint, hub: UploadHub, ask_for: Callable[..., dict[str, Any]], tmp_path: Path
    ) -> None:
        asked = ask_for("tester/broken")
        asked["input"]["dataset"]["images_url"] = "https://files.example/not-there.zip"
        client = MonitoringClient(hub.url, TOKEN, "tester/broken", tmp_path)
        client.start()
        status = endpoint.result(endpoint.run(asked))
        assert status["status"] == "FAILED" and shape(status["output"]) == shape(wire("response_failed"))
        assert status["error"] == status["output"]["error"]
        raised = client.result()
        assert isinstance(raised, RuntimeError) and str(raised) == status["error"]
        assert str(raised).startswith("Failed to download dataset")
        assert [line.partition(":")[0] for line in client.printed] == [
            *("INITIALIZED", "STARTING", "DOWNLOADING", "ERROR")
        ]
