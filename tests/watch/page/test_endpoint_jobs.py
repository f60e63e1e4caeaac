"""Jobs of an endpoint as rows: what each state says, and that nothing that a server sends breaks the page."""

import math
from typing import Any

import pytest

from musabi.watch.page.endpoint_jobs import counts, figures, percent, results, row, rows, short_id

LINK = "https://huggingface.co/user/lora/resolve/main/adapter_model.safetensors"


def a_job(status: str = "IN_PROGRESS", **more: Any) -> dict[str, Any]:
    return {"id": "5f3d9c1e-7c1d-4a53", "status": status, "model": "qwen", "created": 1_780_000_000.0} | more


def test_a_running_job_says_how_far_it_is_and_can_be_cancelled() -> None:
    said = {"message": "Training...", "step": 417, "steps": 1000, "epoch": 42, "epochs": 100, "loss": 0.0912,
            "eta_s": 803.0, "progress": 9.0}  # fmt: skip
    shown = row(a_job(progress=said, seconds=734.0))
    assert (shown.word, shown.short, shown.when) == ("running", "5f3d9c1e", "running for 12 min 14 s")
    assert shown.percent == 41.7, "by steps where there are any, not by the share of the phase"
    assert shown.figures == "step 417 of 1,000, epoch 42 of 100, loss 0.0912, 13 min 23 s left"
    assert shown.can_cancel and not shown.can_retry
    assert row(a_job()).message == "Starting."


@pytest.mark.parametrize(
    ("status", "word", "cancel", "retry"),
    [
        ("IN_QUEUE", "waiting", True, False), ("COMPLETED", "done", False, False), ("FAILED", "failed", False, True),
        ("CANCELLED", "cancelled", False, True), ("TIMED_OUT", "timed out", False, True),
        ("NEW_STATE", "new_state", False, False),
    ],
)  # fmt: skip
def test_each_state_has_a_word_and_what_can_be_done(
    status: str, word: str, cancel: bool, retry: bool
) -> None:
    shown = row(a_job(status))
    assert (shown.word, shown.can_cancel, shown.can_retry) == (word, cancel, retry)


def test_a_job_says_where_its_lora_goes_and_when_it_ended() -> None:
    shown = row(a_job("COMPLETED", method="s3", destination="lab/loras", ended=1_780_000_060.0, seconds=47.0))
    assert shown.target == "S3, lab/loras" and shown.when == "ended 2026-05-28 20:27 UTC after 47 s"
    assert row(a_job("IN_QUEUE")).when == "sent 2026-05-28 20:26 UTC"


def test_results_are_links_where_they_are_https_and_each_is_shown_once() -> None:
    found = results(
        {
            "safetensors_url": LINK,
            "download_url": LINK,
            "repo_url": "http://hub/x",
            "network_volume_path": "/v/x",
        }
    )
    assert [(one.label, one.href) for one in found] == [
        ("LoRA file", LINK), ("Repository", None), ("On this machine", None),
    ]  # fmt: skip
    signed = results({"download_url": f"{LINK}?X-Amz-Signature=abc"})[0]
    assert signed.text == LINK and signed.href == f"{LINK}?X-Amz-Signature=abc"


@pytest.mark.parametrize(
    "address",
    [
        "javascript:alert(1)",
        "http://x/",
        "https://",
        "https://user:pw@x/",
        "https://[::1",
        "https://x/\ny",
        "//x/",
        "data:x",
    ],
)
def test_what_is_no_plain_https_address_is_no_link(address: str) -> None:
    assert all(one.href is None for one in results({"download_url": address}))


@pytest.mark.parametrize("value", [None, [], {}, "x", True, math.nan, math.inf, -1, 10**400, 1e300])
def test_a_value_of_any_kind_makes_a_row(value: Any) -> None:
    names = ("model", "method", "destination", "created", "started", "ended", "seconds", "progress", "result",
             "error", "retries", "status")  # fmt: skip
    row(a_job() | dict.fromkeys(names, value))
    said = dict.fromkeys(("message", "progress", "step", "steps", "epoch", "epochs", "loss", "eta_s"), value)
    row(a_job(progress=said, result={"download_url": value}))
    counts({"jobs": value, "workers": {"idle": value}})
    assert percent(said) is None or 0 <= (percent(said) or 0) <= 100
    assert isinstance(figures(said), str)
    assert rows([value, {"id": value}]) == [] or value == "x"


def test_ids_of_runsync_are_told_apart() -> None:
    assert short_id("sync-5f3d9c1e-7c1d") == "sync-5f3d9c1e" and short_id("5f3d9c1e-7c1d") == "5f3d9c1e"


def test_counts_have_words() -> None:
    health = {"jobs": {"completed": 12, "failed": 1, "inProgress": 1, "inQueue": 3}, "workers": {"idle": 0}}
    assert counts(health) == [
        ("running", 1), ("waiting", 3), ("done", 12), ("failed", 1), ("free to start another", 0),
    ]  # fmt: skip
