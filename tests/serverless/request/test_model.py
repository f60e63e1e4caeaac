"""What is accepted and with which defaults; what is refused, in which words and in which order."""

import json
from typing import Any

import pytest

from musabi.serverless.request.mistakes import Refused
from musabi.serverless.request.model import read_request
from musabi.serverless.request.parameters import PARAMETERS
from musabi.serverless.request.secrets import secrets_of, split_secrets
from musabi.serverless.request.to_settings import untranslated
from serverless.request.examples import EXAMPLES, FLUX_AUTOCAPTION, TOKEN, a_request, an_input

TYPES = "['flux', 'sdxl', 'wan13', 'wan14b_t2v', 'wan14b_i2v', 'qwen', 'z_image_turbo']"
URL = "https://example.com/a.zip"


def refused(given: object, secrets: dict[str, str] | None = None) -> Refused:
    with pytest.raises(Refused) as caught:
        read_request(given, secrets=secrets)
    return caught.value


@pytest.mark.parametrize("name", EXAMPLES)
def test_requests_of_clients_in_the_field_are_accepted_as_they_are(name: str) -> None:
    given, found = split_secrets(EXAMPLES[name])
    request = read_request(given, secrets=secrets_of(found, {}))
    assert request.model_type == EXAMPLES[name]["model_type"]
    assert TOKEN not in repr(request) + request.model_dump_json() + json.dumps(given)


def test_what_is_left_out_has_the_documented_default() -> None:
    request, _ = a_request(training={})
    assert request.training.model_dump(exclude={"extra", "given"}) == {
        "epochs": 100,
        "learning_rate": 2e-5,
        "batch_size": 1,
        "gradient_accumulation_steps": 4,
        "gradient_clipping": 1.0,
        "warmup_steps": 100,
        "lora_rank": 32,
        "lora_dtype": "bfloat16",
        "save_every_n_epochs": 10,
        "checkpoint_every_n_minutes": 120,
        "save_dtype": "bfloat16",
        "optimizer_type": "adamw_optimi",
        "optimizer_betas": (0.9, 0.99),
        "optimizer_weight_decay": 0.01,
        "optimizer_eps": 1e-8,
        "video_clip_mode": "single_middle",
        "frame_buckets": (1, 33),
        "resolution": 1024,
        "activation_checkpointing": True,
        "caching_batch_size": 1,
        "eval_every_n_epochs": 1,
        "eval_before_first_step": True,
        "eval_micro_batch_size_per_gpu": 1,
        "eval_gradient_accumulation_steps": 1,
        "partition_method": "parameters",
        "pipeline_stages": 1,
        "steps_per_print": 1,
        "model_dtype": "bfloat16",
        "transformer_dtype": None,
        "lr_scheduler": None,
        "max_steps": None,
        "seed": None,
        "blocks_to_swap": None,
        "compile": None,
    }
    assert (request.engine, request.output.method) == ("auto", "auto")
    assert (request.dataset.image_repeats, request.dataset.video_repeats) == (1, 5)


ORIGINAL: tuple[tuple[dict[str, Any], str], ...] = (
    ({}, "Missing required field: model_type"),
    ({"model_type": "sd15"}, f"Invalid model_type: sd15. Must be one of: {TYPES}"),
    ({"model_type": None}, f"Invalid model_type: None. Must be one of: {TYPES}"),
    ({"model_type": "qwen"}, "Missing required field: dataset"),
    ({"model_type": "qwen", "dataset": {}}, "Missing required field: dataset.type"),
    ({"model_type": "qwen", "dataset": {"type": "audio"}}, "Invalid dataset.type: audio"),
    (
        {"model_type": "qwen", "dataset": {"type": "images"}},
        "images_url is required when dataset.type is 'images' or 'both'",
    ),
    (
        {"model_type": "wan13", "dataset": {"type": "both", "images_url": URL}},
        "videos_url is required when dataset.type is 'videos' or 'both'",
    ),
    (
        {"model_type": "flux", "dataset": {"type": "images", "images_url": URL}},
        "huggingface_token is required for flux model",
    ),
    (
        {"model_type": "wan13", "dataset": {"type": "videos", "videos_url": URL}},
        "gemini_api_key is required for video captioning",
    ),
)


@pytest.mark.parametrize(("given", "message"), ORIGINAL)
def test_the_original_s_mistakes_keep_their_words_and_come_first(given: dict[str, Any], message: str) -> None:
    wrong_besides = given | {"training": {"epochs": 0}}
    answer = refused(wrong_besides).answer()
    assert (answer["status"], answer["error"]) == ("failed", message)
    assert answer["errors"][0]["message"] == message
    assert "training.epochs" in [one["path"] for one in answer["errors"]]


def test_the_original_s_mistakes_are_found_in_its_order() -> None:
    given = {"model_type": "flux", "dataset": {"type": "both"}}
    assert [one.message for one in refused(given).mistakes] == [
        "images_url is required when dataset.type is 'images' or 'both'",
        "videos_url is required when dataset.type is 'videos' or 'both'",
        "huggingface_token is required for flux model",
        "gemini_api_key is required for video captioning",
    ]


def test_a_secret_of_the_endpoint_counts_as_one_of_the_request() -> None:
    flux = {key: value for key, value in FLUX_AUTOCAPTION.items() if key not in ("api_keys", "output")}
    assert "flux model" in str(refused(flux))
    read_request(flux, secrets=secrets_of({}, {"HF_TOKEN": "hf_own"}))
    videos = an_input("wan13", dataset={"type": "videos", "videos_url": URL})
    assert "gemini_api_key" in str(refused(videos))
    read_request(videos, secrets=secrets_of({}, {"GEMINI_API_KEY": "own"}))


@pytest.mark.parametrize("nothing", [None, "", "  "])
def test_a_secret_that_says_nothing_is_missing_and_the_endpoint_s_own_stands_in_for_it(nothing: Any) -> None:
    keys = {"huggingface_token": nothing, "gemini_api_key": nothing}
    dataset = {"type": "images", "images_url": URL}
    for given, message, own in (
        (an_input("flux", dataset=dataset, api_keys=keys), "huggingface_token is required for", "HF_TOKEN"),
        (
            an_input("wan13", dataset={"type": "videos", "videos_url": URL}, api_keys=keys),
            "gemini_api_key is required for video captioning",
            "GEMINI_API_KEY",
        ),
        (
            an_input(api_keys=keys, output={"method": "huggingface", "huggingface": {"token": nothing}}),
            "output.huggingface.token is missing",
            "HF_TOKEN",
        ),
    ):
        clean, found = split_secrets(given)
        (mistake,) = refused(clean, secrets_of(found, {})).mistakes
        assert message in mistake.message
        read_request(clean, secrets=secrets_of(found, {own: "the endpoint's"}))


def test_videos_that_a_local_model_captions_need_no_key() -> None:
    dataset = {"type": "videos", "videos_url": URL, "caption_with": "qwen3-vl"}
    assert read_request(an_input("wan13", dataset=dataset)).dataset.caption_with == "qwen3-vl"


WRONG: tuple[tuple[str, Any, str], ...] = (
    ("epochs", 0, "training.epochs must be a whole number from 1 to 1000000, not 0."),
    ("epochs", "many", 'training.epochs must be a whole number from 1 to 1000000, not "many".'),
    ("epochs", True, "training.epochs must be a whole number from 1 to 1000000, not true."),
    ("epochs", 10**30, "not a very large number"),
    ("learning_rate", 0, "training.learning_rate must be a number above 0, such as 2e-5, not 0."),
    ("learning_rate", float("nan"), "not no finite number"),
    ("lora_rank", 2048, "from 1 to 1024"),
    ("optimizer_betas", [0.9, 1.0], "two numbers from 0 to below 1"),
    ("optimizer_betas", 0.9, "two numbers"),
    ("optimizer_type", "optimi.AdamW", "must be one of adamw_optimi, adamw"),
    ("resolution", 1, "from 64 to 4096"),
    ("frame_buckets", [], "a list of whole numbers"),
    ("activation_checkpointing", "sometimes", 'true, false or "unsloth"'),
    ("pipeline_stages", 2, "1, since a job has one GPU"),
    ("transformer_dtype", "int4", "float8_e4m3fn"),
    ("seed", -1, "from 0 to 4294967295"),
    ("lora_dtype", {"a": 1}, "not an object"),
)


@pytest.mark.parametrize(("name", "value", "message"), WRONG)
def test_a_value_of_the_wrong_kind_is_named_with_what_it_must_be(name: str, value: Any, message: str) -> None:
    (mistake,) = refused(an_input(training={name: value})).mistakes
    assert mistake.path == f"training.{name}"
    assert message in mistake.message


def test_numbers_that_came_as_text_are_taken_as_the_original_took_them() -> None:
    request, _ = a_request(training={"epochs": "20", "learning_rate": "1e-4", "lora_rank": 16.0})
    assert (request.training.epochs, request.training.learning_rate, request.training.lora_rank) == (
        20,
        1e-4,
        16,
    )


def test_null_counts_as_left_out() -> None:
    request, _ = a_request(training={"epochs": None, "min_snr": None}, output=None, engine=None)
    assert request.training.epochs == 100
    assert request.training.given == frozenset()


def test_all_mistakes_are_told_at_once() -> None:
    given = an_input(
        training={"epochs": -1, "lora_rank": "x"},
        output={"method": "carrier pigeon", "huggingface": {"repo_id": "../up"}},
        engine="kohya",
    )
    paths = [one["path"] for one in refused(given).answer()["errors"]]
    assert paths == [
        "training.epochs",
        "training.lora_rank",
        "output.huggingface.repo_id",
        "output.method",
        "engine",
    ]


def paths_of(given: dict[str, Any]) -> list[str]:
    return [one.path for one in refused(given).mistakes]


def test_what_the_trainer_refuses_is_told_with_what_is_wrong_in_itself() -> None:
    training = {"epochs": 0, "output_dir": "/etc", "discrete_flow_shfit": 3, "blocks_to_swap": 99}
    assert paths_of(an_input("wan13", training, engine="musubi")) == [
        "training.epochs",
        "training.output_dir",
        "training.discrete_flow_shfit",
        "training.blocks_to_swap",
    ]


def test_what_is_wrong_in_one_part_hides_nothing_of_another() -> None:
    given = an_input(
        training={"optimizer_type": "os.system"},
        dataset={
            "type": "videos",
            "videos_url": "http://a.example/x",
            "video_repeats": 0,
            "caption_with": "x",
        },
        output={"s3": {"endpoint_url": "ftp://a"}, "huggingface": 1},
        engine="diffusers",
    )
    assert paths_of(given) == [
        "api_keys.gemini_api_key",
        "dataset.video_repeats",
        "dataset.caption_with",
        "dataset.videos_url",
        "output.huggingface",
        "output.s3.bucket",
        "output.s3.endpoint_url",
        "engine",
        "dataset.videos_url",
        "training.optimizer_type",
    ]
    assert paths_of(
        {"model_type": "qwen", "dataset": {"images_url": "http://a.example", "image_repeats": 0}}
    ) == [
        "dataset.type",
        "dataset.image_repeats",
        "dataset.images_url",
    ]


def test_what_no_model_has_is_told_where_the_model_is_not_known() -> None:
    training = {"output_dir": "/x", "max_grad_norm": 1, "optimizer_type": "a.b", "split_attn": 1, "min_ar": 1}
    assert paths_of(an_input("sd15", training)) == [
        "model_type",
        "training.optimizer_type",
        "training.output_dir",
        "training.max_grad_norm",
    ]


@pytest.mark.parametrize(
    ("training", "engine", "paths"),
    [
        ({"min_ar": 0.5, "timestep_sampling": "shift"}, "kohya", ["engine"]),
        ({"min_ar": 0.5, "resume": 1}, "kohya", ["engine", "training.resume"]),
        ({"optimizer_type": 5, "min_ar": 0.5, "split_attn": True}, "auto", ["training.optimizer_type"]),
    ],
)
def test_what_depends_on_a_value_that_is_wrong_is_not_judged(
    training: dict[str, Any], engine: str, paths: list[str]
) -> None:
    assert paths_of(an_input("qwen", training, engine=engine)) == paths


def test_whether_values_go_together_is_judged_once_all_are_right() -> None:
    together = {"max_data_loader_n_workers": 0, "persistent_data_loader_workers": True}
    assert paths_of(an_input("qwen", together)) == ["training"]
    assert paths_of(an_input("qwen", together | {"epochs": 0})) == ["training.epochs"]


@pytest.mark.parametrize(("kind", "other"), [("images", "videos"), ("videos", "images")])
def test_an_address_that_the_type_does_not_ask_for_is_passed_over_and_said(kind: str, other: str) -> None:
    dataset = {"type": kind, f"{kind}_url": URL, f"{other}_url": "http://elsewhere.example/x.zip"}
    request, choice = a_request("wan13", dataset=dataset, api_keys={"gemini_api_key": TOKEN})
    assert (request.has_images, request.has_videos) == (kind == "images", kind == "videos")
    assert request.dataset.addresses == {kind: URL}
    (said,) = untranslated(request, choice)
    assert said.startswith(f"dataset.{other}_url is not read: dataset.type is {kind}.")
    both, choice = a_request("wan13", dataset={"type": "precaptioned", "images_url": URL, "videos_url": URL})
    assert both.has_images and both.has_videos and untranslated(both, choice) == ()


@pytest.mark.parametrize(
    "name", [one.name for one in PARAMETERS if len(one.idle) == 3 and one.name != "eval_before_first_step"]
)
def test_what_has_no_effect_anywhere_may_be_nought(name: str) -> None:
    request, choice = a_request(training={name: 0})
    (said,) = untranslated(request, choice)
    assert said.startswith(f"training.{name} has no effect")


SENTENCES: tuple[tuple[dict[str, Any], str, str], ...] = (
    ({"dataset": None}, "dataset", "must be an object"),
    ({"dataset": {"type": "precaptioned"}}, "dataset", "images_url or dataset.videos_url is missing"),
    ({"dataset": {"type": "images", "images_url": ""}}, "dataset.images_url", "must be a web address"),
    ({"dataset": {"type": "images", "images_url": "ftp://a/b"}}, "dataset.images_url", "https://"),
    (
        {"dataset": {"type": "images", "images_url": "http://files.example/a.zip"}},
        "dataset.images_url",
        "dataset.images_url: http://files.example is not encrypted. Use its https:// address.",
    ),
    (
        {"dataset": {"type": "images", "images_url": URL, "trigger_wrod": "x"}},
        "dataset.trigger_wrod",
        "Did you mean trigger_word?",
    ),
    ({"trainig": {}}, "trainig", "Did you mean training?"),
    ({"output": {"method": "s3"}}, "output.s3", "is missing"),
    ({"output": {"method": "s3", "s3": {"bucket": "b1c"}}}, "output.s3.access_key", "is missing"),
    ({"output": {"method": "huggingface"}}, "output.huggingface.token", "is missing"),
    ({"output": {"s3": {"bucket": "abc", "key_prefix": "a/../b"}}}, "output.s3.key_prefix", "without .."),
    ({"output": {"s3": {"bucket": "abc", "endpoint_url": "file:///etc"}}}, "output.s3.endpoint_url", "https"),
    (
        {"output": {"s3": {"bucket": "abc", "endpoint_url": "http://s3.example"}}},
        "output.s3.endpoint_url",
        "http://s3.example is not encrypted.",
    ),
    (
        {"output": {"s3": {"bucket": "b"}}},
        "output.s3.bucket",
        "(3 to 63 characters: lower-case letters, digits,",
    ),
    (
        {"output": {"s3": {"bucket": "b2"}}},
        "output.s3.bucket",
        "(3 to 63 characters: lower-case letters, digits,",
    ),
    ({"output": {"s3": "abc"}}, "output.s3", 'must be an object, not "abc"'),
    (
        {"training": {f"key{n}": 1 for n in range(257)}},
        "training",
        "holds 257 keys that are no fields; 256 may",
    ),
    ({"client": "a" * 10**6}, "input", "The input is larger than 1 MB. Put the dataset on a server"),
    ({"output": {"notes": [{"a": "b" * 1000}] * 1000}}, "input", "larger than 1 MB"),
    ({"api_keys": "key"}, "api_keys", "must be an object"),
    ({"api_keys": {"huggingface_tokn": "x"}}, "api_keys.huggingface_tokn", "huggingface_token"),
)


@pytest.mark.parametrize(("more", "path", "message"), SENTENCES)
def test_what_is_wrong_is_named_with_its_path(more: dict[str, Any], path: str, message: str) -> None:
    mistakes = {one.path: one.message for one in refused(an_input() | more).mistakes}
    assert message in mistakes[path]


def test_keys_that_are_unknown_and_no_slip_are_passed_over_as_ever() -> None:
    request, _ = a_request(client="web", output={"method": "auto", "upload_url": URL})
    assert request.output.method == "auto"


def test_no_message_shows_a_secret_or_the_query_of_an_address() -> None:
    given = an_input(
        dataset={"type": "images", "images_url": f"ftp://host/a?sig={TOKEN}"},
        api_keys={"huggingface_token": {"value": TOKEN}, "gemini_api_key": [TOKEN]},
        output={"method": "s3", "s3": {"bucket": "a b", "endpoint_url": f"nowhere?{TOKEN}", "secret_key": 1}},
    )
    given["dataset"]["videos_url"] = f"https://host/v.zip?sig={TOKEN}\n"
    clean, _ = split_secrets(given)
    assert TOKEN not in json.dumps(refused(clean).answer()) + json.dumps(refused(given).answer())


def test_a_message_shows_at_most_80_printable_characters_of_a_value() -> None:
    given = an_input(training={"epochs": "a\n\x1b[31m" + "b" * 10_000})
    (mistake,) = refused(given).mistakes
    assert len(mistake.message) < 160
    assert mistake.message.isprintable()


@pytest.mark.parametrize("given", [None, [], "qwen", 3, True])
def test_an_input_that_is_no_object_is_refused(given: object) -> None:
    assert refused(given).mistakes[0].path == "input"


def test_the_training_object_is_kept_as_it_came() -> None:
    given, _ = split_secrets(an_input(training={"epochs": 3, "shift": 3.0, "seed": None}))
    training = read_request(given).training
    assert training.as_asked() == {"epochs": 3, "shift": 3.0, "seed": None}
    assert set(training.extra) == {"shift"}
    assert training.given == {"epochs"}


def test_the_number_formats_are_taken_at_the_top_and_in_training() -> None:
    request, _ = a_request(
        "flux", {"transformer_dtype": "float16"}, transformer_dtype="float8", model_dtype="float16"
    )
    assert (request.transformer_dtype, request.model_dtype) == ("float16", "float16")
