"""The model card of a job's result: what the hub shows of it, and the archive's README."""

from collections.abc import Sequence

from musabi.children import scrub
from musabi.job.record import RunFolder
from musabi.serverless.context import Context
from musabi.serverless.delivery.trained import last_samples, licence
from musabi.serverless.delivery.update_file import cleaned
from musabi.serverless.parts import Trained
from musabi.watch.card import Card, CardFile, card_text
from musabi.watch.lineage import read_lineage
from musabi.watch.story import ENGINES, count, duration, weights_remark

ENGINE_TITLES = ENGINES | {"diffusion_pipe": "diffusion-pipe"}
SHOWN_LETTERS = 80


def readme(
    context: Context, trained: Trained, files: Sequence[CardFile], samples: Sequence[str], repo: str | None
) -> str:
    """Return the card as Markdown. `samples` are the pictures' names at the destination, in their order.

    `repo` is the repo that the card lies in; None in an archive. Nothing in it holds a secret.
    """
    hidden = tuple(context.secrets.values())
    prompts: list[str | None] = []
    versions: dict[str, str] = {}
    if trained.run is not None:
        lineage = read_lineage(RunFolder(trained.run))
        prompts = [prompt and scrub(prompt, hidden) for _, prompt in last_samples(lineage)]
        versions = lineage.record.versions
    steps = f"{count(trained.steps, 'step')}, {count(trained.epochs, 'epoch')}"
    return card_text(
        Card(
            name=repo.partition("/")[2] if repo else trained.name,
            model=context.choice.title,
            headline=f"Trained: {steps} in {duration(trained.seconds)}.",
            files=tuple(files),
            repo=repo,
            base_model=trained.base_model,
            licence=licence(context.choice),
            trigger=trained.trigger and scrub(trained.trigger, hidden),
            remark=weights_remark(versions),
            samples=tuple(zip(samples, prompts, strict=False)),
            settings=settings(context, trained),
            versions=tuple(sorted(versions.items())),
        )
    )


def settings(context: Context, trained: Trained) -> tuple[tuple[str, str], ...]:
    """Return how it was trained as (name, value) pairs: what came of it, and what the request asked for."""
    rows = [
        ("Model", context.choice.title),
        ("Engine", ENGINE_TITLES.get(context.choice.engine, context.choice.engine)),
        ("Rank / alpha", f"{trained.rank} / {trained.alpha:g}"),
        ("Epochs", f"{trained.epochs:,}"),
        ("Steps", f"{trained.steps:,}"),
        ("Time taken", duration(trained.seconds)),
    ]
    asked = cleaned(context.request.training.as_asked(), tuple(context.secrets.values()))
    rows += [
        (str(name), str(value)[:SHOWN_LETTERS])
        for name, value in asked.items()
        if value is not None and not isinstance(value, dict)
    ]
    return tuple(rows)
