"""The files that publish the image and offer it on Runpod: bake file, workflows, template, hub."""

import json
import re
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from musabi.serverless.phases.trainer_ready import HOLDERS
from musabi.serverless.request.engine_choice import choose_engine
from musabi.serverless.request.model import read_request
from musabi.serverless.settings import EndpointSettings
from musabi.serverless.settings import load as load_endpoint
from musabi.serverless.trainers import IN_IMAGE
from musabi.settings import Settings, load

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
PINNED = re.compile(r"uses: [\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$")
FIELDS = {name.upper(): field for name, field in Settings.model_fields.items()}
OF_ENDPOINT = FIELDS | {name.upper(): field for name, field in EndpointSettings.model_fields.items()}
PUBLISHED = {"slim", "full", "serverless"}


def workflow(name: str) -> dict[Any, Any]:
    found: dict[Any, Any] = yaml.safe_load((ROOT / ".github/workflows" / name).read_text())
    return found


def steps(job: dict[str, Any]) -> list[dict[str, Any]]:
    return list(job.get("steps", ()))


def read_json(name: str) -> Any:
    return json.loads((ROOT / name).read_text())


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_every_action_is_pinned_to_a_commit_and_says_its_version(path: Path) -> None:
    lines = [line.strip().removeprefix("- ") for line in path.read_text().splitlines() if "uses: " in line]
    assert lines
    assert [line for line in lines if "uses: ./" not in line and not PINNED.fullmatch(line)] == []


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_may_only_read_and_ends_in_time(path: Path) -> None:
    found = workflow(path.name)
    assert found["permissions"] == {"contents": "read"}
    for name, job in found["jobs"].items():
        assert "uses" in job or job["timeout-minutes"] <= 180, name
        assert "permissions" not in job, name


def test_a_pull_request_builds_and_neither_logs_in_nor_pushes() -> None:
    found = workflow("docker-publish.yml")
    # YAML 1.1 reads the key `on` as true.
    assert found[True].keys() == {"push", "pull_request", "workflow_dispatch"}
    assert found[True]["push"] == {"branches": ["main"], "tags": ["v*"]}
    not_pull_request = "github.event_name != 'pull_request'"
    for step in steps(found["jobs"]["publish"]):
        if "login-action" in step.get("uses", ""):
            assert step["if"] == not_pull_request
        if "push" in step.get("with", {}):
            assert step["with"]["push"] == f"${{{{ {not_pull_request} }}}}"
    text = (ROOT / ".github/workflows/docker-publish.yml").read_text()
    assert "pull_request_target" not in text and "docker push" not in text
    assert sum("push" in step.get("with", {}) for step in steps(found["jobs"]["publish"])) == 1


def test_tests_and_linters_come_before_the_push() -> None:
    found = workflow("docker-publish.yml")
    assert found["jobs"]["publish"]["needs"] == "smoke"
    assert found["jobs"]["smoke"]["needs"] == "tests"
    assert found["jobs"]["tests"]["uses"] == "./.github/workflows/tests.yml"
    tested = workflow("tests.yml")
    assert "workflow_call" in tested[True]
    commands = "\n".join(step.get("run", "") for job in tested["jobs"].values() for step in steps(job))
    assert all(word in commands for word in ("./test.sh", "hadolint Dockerfile", "shellcheck"))
    assert "Boot it" in [step.get("name") for step in steps(found["jobs"]["smoke"])]


def test_the_image_can_be_renamed_and_secrets_are_named_as_documented() -> None:
    text = (ROOT / ".github/workflows/docker-publish.yml").read_text()
    assert "vars.DOCKER_IMAGE || 'gemneye/musabi-runpod'" in text
    assert set(re.findall(r"secrets\.(\w+)", text)) == {"DOCKER_USERNAME", "DOCKER_PASSWORD"}
    # No expression is pasted into a shell script, where a branch's name would be code.
    for path in WORKFLOWS:
        for job in workflow(path.name)["jobs"].values():
            assert [step["run"] for step in steps(job) if "${{" in step.get("run", "")] == []


@pytest.mark.parametrize(
    ("ref", "tags"),
    [
        ("refs/heads/main", "latest,main,sha-0123abc"),
        ("refs/tags/v1.2.3", "v1.2.3,sha-0123abc"),
        ("refs/pull/7/merge", "sha-0123abc"),
    ],
)
def test_tags_follow_the_ref(ref: str, tags: str) -> None:
    argv = [str(ROOT / "scripts/image/tags.sh"), ref, "0123abcdef0123abcdef0123abcdef0123abcdef"]
    assert subprocess.check_output(argv, text=True, timeout=10).strip() == tags


def test_the_bake_file_builds_stages_that_are_there_with_arguments_that_are_there() -> None:
    bake = (ROOT / "docker-bake.hcl").read_text()
    dockerfile = (ROOT / "Dockerfile").read_text()
    stages = set(re.findall(r"^FROM \S+ AS (\w+)$", dockerfile, re.MULTILINE))
    arguments = dict(re.findall(r"^ARG (\w+)=\"?(.*?)\"?$", dockerfile, re.MULTILINE))
    assert set(re.findall(r'^  target   = "(\w+)"', bake, re.MULTILINE)) == PUBLISHED | {"cpu"} <= stages
    group = re.search(r'group "default" \{\s*targets = (\[.*?\])', bake)
    assert group is not None and set(json.loads(group[1])) == PUBLISHED
    matrix = workflow("docker-publish.yml")["jobs"]["publish"]["strategy"]["matrix"]
    assert set(matrix["target"]) == PUBLISHED
    for target in (PUBLISHED | {"cpu"}) - {"slim"}:
        assert f'"${{IMAGE}}:${{tag}}-{target}"' in bake
    passed = re.search(r"args = \{(.*?)\}", bake, re.DOTALL)
    assert passed is not None
    variables = dict(re.findall(r'variable "(\w+)" \{\s*default = "(.*?)"', bake))
    for name in re.findall(r"^\s+(\w+)\s+= \w+$", passed[1], re.MULTILINE):
        assert variables[name] == arguments[name], name
    assert bake.count("{") == bake.count("}")


def test_a_target_of_its_own_holds_diffusion_pipe_made_by_the_bootstrap() -> None:
    bake = (ROOT / "docker-bake.hcl").read_text()
    target = re.search(r'^target "serverless-diffusion-pipe" \{(.*?)^\}', bake, re.MULTILINE | re.DOTALL)
    assert target is not None and 'inherits = ["serverless"]' in target[1]
    assert re.search(r'DIFFUSION_PIPE = "1"', target[1]) and "-serverless-diffusion-pipe" in target[1]
    assert HOLDERS["diffusion_pipe"] == "serverless-diffusion-pipe", "what a refused job is told to use"

    dockerfile = (ROOT / "Dockerfile").read_text()
    trainer = re.search(r"^FROM slim AS trainer$(.*?)^FROM", dockerfile, re.MULTILINE | re.DOTALL)
    assert trainer is not None and re.search(r"^ARG .*\bDIFFUSION_PIPE$", trainer[1], re.MULTILINE)
    copied = dict(re.findall(r"^COPY --from=trainer (/baked/diffusion-pipe\S*) (\S+)$", dockerfile, re.M))
    assert copied == {
        "/baked/diffusion-pipe": str(IN_IMAGE["diffusion_pipe"]),
        "/baked/diffusion-pipe-venv": "/opt/musabi/state/diffusion-pipe-venv",
    }
    script = (ROOT / "scripts/image/trainer.sh").read_text()
    assert "musabi bootstrap --engine diffusion_pipe" in script
    for folder in ("MUSABI_STATE_DIR/diffusion-pipe-venv", "WORKSPACE/diffusion-pipe"):
        assert re.search(rf'^mkdir .*"\${folder}"', script, re.MULTILINE), "an empty one without it"
        assert f'mv "${folder}" /baked/' in script
    own = script + "".join(re.findall(r"^RUN .*$", dockerfile, re.MULTILINE))
    assert not re.search(r"git clone|submodule|deepspeed|requirements\.txt", own), "the bootstrap knows how"


def test_a_job_on_the_serverless_image_may_install_nothing() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    service = re.search(r"^FROM system AS service$(.*?)^FROM", dockerfile, re.MULTILINE | re.DOTALL)
    assert service is not None
    set_there = dict(re.findall(r"^ENV (\w+)=(\S+)$", service[1], re.MULTILINE))
    assert not load_endpoint(set_there).endpoint_install_trainers
    assert load_endpoint({}).endpoint_install_trainers, "a machine of one's own may"


def test_the_builds_defaults_are_the_products() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    for name, value in set(re.findall(r"^ARG (MUSUBI_\w+)=(\S+)$", dockerfile, re.MULTILINE)):
        assert FIELDS[name].default == value, name


def test_the_pod_template_asks_for_what_the_settings_have() -> None:
    values = read_json("template.json")
    template = values["template"]
    assert template["ports"] == ["8888/http", "22/tcp"]
    assert template["volumeMountPath"] == "/workspace"
    described = {row["key"]: row for row in values["env"]}
    for name, row in described.items():
        assert row["description"] == FIELDS[name].description
    assert template["env"] == {name: row["value"] for name, row in described.items() if row["value"]}
    load(template["env"])
    default = load({})
    assert load({name: row["value"] for name, row in described.items()}) == default
    sizes = {(row["model"], row["image"]): row for row in values["disks"]}
    slim = sizes["z-image", "slim"]
    assert (template["containerDiskInGb"], template["volumeInGb"]) == (
        slim["containerDiskInGb"],
        slim["volumeInGb"],
    )
    recipes = {path.stem for path in (ROOT / "src/musabi/recipes").glob("*.toml")}
    assert {model for model, _ in sizes} <= recipes


def test_a_worker_is_built_from_nothing_of_a_pod() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    stages = re.findall(r"^FROM (\S+) AS (\w+)$(.*?)(?=^FROM|\Z)", dockerfile, re.MULTILINE | re.DOTALL)
    found = {name: (base, text) for base, name, text in stages}
    name, line = "serverless", []
    while name in found:
        name, text = found[name]
        line.append(text)
    text = "".join(line)
    assert "openssh-server" in text, "the walk went down to the base"
    assert not re.search(r"^(EXPOSE|HEALTHCHECK)|tools\.sh .*\bpod\b|MUSABI_EXTRAS", text, re.MULTILINE)
    assert 'CMD ["worker"]' in text


def test_the_hub_asks_for_what_the_endpoints_settings_have() -> None:
    config = read_json(".runpod/hub.json")["config"]
    for row in config["env"]:
        name, asked = row["key"], row["input"]
        assert asked["description"] == OF_ENDPOINT[name].description
        default = OF_ENDPOINT[name].default
        shown = ",".join(default) if isinstance(default, tuple) else default
        assert asked["default"] == (shown if shown is not None else "")
    load_endpoint({row["key"]: str(row["input"]["default"]) for row in config["env"]})


def test_the_hub_builds_the_published_worker() -> None:
    """The Hub names no target, and takes a Dockerfile in .runpod before the one in the root."""
    (line,) = re.findall(r"^FROM (\S+)$", (ROOT / ".runpod/Dockerfile").read_text(), re.M)
    bake = (ROOT / "docker-bake.hcl").read_text()
    image = re.search(r'variable "IMAGE" \{\s*default = "(.*?)"', bake)
    assert image is not None and line == f"{image[1]}:latest-serverless"
    assert (ROOT / "handler.py").is_file()


def test_no_offer_admits_a_driver_that_is_too_old() -> None:
    filters = (
        read_json("template.json")["allowedCudaVersions"],
        read_json(".runpod/hub.json")["config"]["allowedCudaVersions"],
        read_json(".runpod/tests.json")["config"]["allowedCudaVersions"],
    )
    for versions in filters:
        assert versions and all(tuple(map(int, version.split("."))) >= (12, 8) for version in versions)


def test_the_hubs_own_test_is_a_request_that_trains() -> None:
    values = read_json(".runpod/tests.json")
    load_endpoint({row["key"]: row["value"] for row in values["config"]["env"]})
    assert {row["key"] for row in values["config"]["env"]} <= OF_ENDPOINT.keys()
    (test,) = values["tests"]
    assert test["timeout"] <= 3_600_000
    request = read_request(test["input"], secrets={})
    assert choose_engine(request).engine == "musubi", "the one that is in the image"
    url = test["input"]["dataset"]["images_url"]
    branch, _, path = url.removeprefix("https://raw.githubusercontent.com/gemneye/musabi-runpod/").partition(
        "/"
    )
    assert branch == "main"
    with zipfile.ZipFile(ROOT / path) as archive:
        assert archive.testzip() is None
        names = {Path(name) for name in archive.namelist()}
    pictures = {name for name in names if name.suffix == ".png"}
    assert len(pictures) == 4
    assert names == pictures | {name.with_suffix(".txt") for name in pictures}
