"""The files that publish the image and offer it on Runpod: bake file, workflows, template, hub."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from musabi.settings import Settings, load

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
PINNED = re.compile(r"uses: [\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$")
FIELDS = {name.upper(): field for name, field in Settings.model_fields.items()}


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
    assert set(re.findall(r'^  target   = "(\w+)"', bake, re.MULTILINE)) == {"slim", "full", "cpu"} <= stages
    assert 'targets = ["slim", "full"]' in bake
    passed = re.search(r"args = \{(.*?)\}", bake, re.DOTALL)
    assert passed is not None
    variables = dict(re.findall(r'variable "(\w+)" \{\s*default = "(.*?)"', bake))
    for name in re.findall(r"^\s+(\w+)\s+= \w+$", passed[1], re.MULTILINE):
        assert variables[name] == arguments[name], name
    assert bake.count("{") == bake.count("}")


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


def test_the_hub_asks_for_what_the_settings_have() -> None:
    config = read_json(".runpod/hub.json")["config"]
    asked = {row["key"]: row["input"] for row in config["env"]}
    for name, row in asked.items():
        assert row["description"] == FIELDS[name].description
        chosen = row["default"]
        text = row["falseValue"] if chosen is False else str(chosen)
        load({name: text})
        for option in row.get("options", ()):
            load({name: option["value"]})
    for preset in config["presets"]:
        assert preset["defaults"].keys() <= asked.keys()
        load({name: str(value) for name, value in preset["defaults"].items()})


def test_no_offer_admits_a_driver_that_is_too_old() -> None:
    filters = (
        read_json("template.json")["allowedCudaVersions"],
        read_json(".runpod/hub.json")["config"]["allowedCudaVersions"],
        read_json(".runpod/tests.json")["config"]["allowedCudaVersions"],
    )
    for versions in filters:
        assert versions and all(tuple(map(int, version.split("."))) >= (12, 8) for version in versions)


def test_the_hubs_own_test_sets_variables_that_exist() -> None:
    values = read_json(".runpod/tests.json")
    assert values["tests"][0].keys() >= {"name", "input"}
    load({row["key"]: row["value"] for row in values["config"]["env"]})
    assert {row["key"] for row in values["config"]["env"]} <= FIELDS.keys()
