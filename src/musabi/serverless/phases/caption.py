"""Second phase: what has no caption gets one, and the trigger word reaches every caption, once."""

from collections.abc import Mapping
from typing import Any

from musabi.serverless.captions import caption_missing, needs_musubi_tuner
from musabi.serverless.context import Context
from musabi.serverless.intake.trigger import put_trigger_everywhere
from musabi.serverless.phases.bring_dataset import from_json
from musabi.serverless.phases.trainer_ready import make_captioner_ready


def run(context: Context, outcomes: Mapping[str, Any]) -> dict[str, Any]:
    """Caption where the request asks for it; return how many captions were made."""
    brought = from_json(outcomes["dataset"])
    made = 0
    if context.request.dataset.type != "precaptioned" and brought.uncaptioned:
        if needs_musubi_tuner(context, brought):
            make_captioner_ready(context)
        context.tell("captions", f"Captioning {len(brought.uncaptioned)} files")
        made = caption_missing(context, brought)
    word = context.request.dataset.trigger_word
    if word:
        for folder in (brought.images, brought.videos):
            if folder is not None:
                put_trigger_everywhere(folder, word)
    return {"captioned": made}
