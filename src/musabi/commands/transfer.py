"""Verbs that move things: publish a run's results, fetch images and captions."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from musabi.commands.options import DryRun, Json, Set, settings_from
from musabi.commands.running import newest_or_named
from musabi.commands.show import say, say_json
from musabi.errors import RequestError
from musabi.settings import Settings

if TYPE_CHECKING:
    from musabi.watch.publish import Published


def publish_verb(
    run: Annotated[
        str | None, typer.Argument(help="Id of the run; the newest where not given.", show_default=False)
    ] = None,
    to: Annotated[
        str | None,
        typer.Option(
            "--to",
            help="hf:USER/REPO, s3://BUCKET/PREFIX or a folder; {name} and {run} stand for the run's. "
            "PUBLISH_TO where not given.",
            show_default=False,
        ),
    ] = None,
    public: Annotated[
        bool, typer.Option("--public", help="Let everybody see the repo; only you where not given.")
    ] = False,
    trigger: Annotated[
        str | None,
        typer.Option(
            "--trigger",
            help="Trigger word for the model card; what all captions begin with where not given.",
            show_default=False,
        ),
    ] = None,
    all_checkpoints: Annotated[
        bool, typer.Option("--all-checkpoints", help="Every checkpoint and sample, not only the last.")
    ] = False,
    dry_run: DryRun = False,
    pairs: Set = None,
    as_json: Json = False,
) -> None:
    """Bring a run's LoRA, samples, model card and settings to the hub, to S3 or to a folder.

    Example: musabi publish --to hf:me/my-lora
    """
    from musabi.watch.publish import contents, publish

    settings = settings_from(pairs)
    place = to or settings.publish_to
    if place is None:
        raise RequestError(
            "Where to? Add --to hf:USER/REPO, --to s3://BUCKET/PREFIX or --to FOLDER, or set PUBLISH_TO."
        )
    folder = newest_or_named(settings, run)
    environ = os.environ | settings.child_environment
    if dry_run:
        would = contents(
            folder, place, environ, public=public, trigger=trigger, all_checkpoints=all_checkpoints
        )
        say_json(would.as_json()) if as_json else say(_would_be_sent(would))
        return
    published = publish(
        folder,
        place,
        environ,
        public=public,
        trigger=trigger,
        all_checkpoints=all_checkpoints,
        say=(lambda _text: None) if as_json else say,
    )
    say_json(published.as_json()) if as_json else say(_was_sent(published))


def fetch_verb(
    source: Annotated[
        str,
        typer.Argument(
            help="https://..., hf:dataset/USER/REPO, s3://BUCKET/PREFIX, a zip or tar file, a folder, an image."
        ),
    ],
    to: Annotated[
        Path | None,
        typer.Option("--to", help="Folder; WORKSPACE/dataset/images where not given.", show_default=False),
    ] = None,
    allow_private: Annotated[
        bool,
        typer.Option("--allow-private", help="Also from this machine's own network, and over http there."),
    ] = False,
    pairs: Set = None,
    as_json: Json = False,
) -> None:
    """Bring images and captions into the dataset folder. Nothing that is there is overwritten.

    Example: musabi fetch https://example.com/photos.zip
    """
    from musabi.dataset.bring_in import Bringing, bring_in, counted
    from musabi.dataset.incoming import in_words

    settings = settings_from(pairs)
    target = (to or settings.space.images).absolute()
    environ = os.environ | settings.child_environment
    how = Bringing(environ, allow_private, say=(lambda _text: None) if as_json else say)
    brought = bring_in(source, target, how)
    ready, bare = counted(target)
    if as_json:
        say_json(brought.as_json() | {"with_caption": ready, "without_caption": bare})
        return
    for line in in_words(brought):
        say(line)
    say(_next_step(settings, target, ready, bare))


def _next_step(settings: Settings, target: Path, ready: int, bare: int) -> str:
    images = f"{ready:,} image{'' if ready == 1 else 's'} with a caption"
    without = f", {bare:,} without one" if bare else ""
    named = (
        "" if target == settings.space.images else f" (name {target} as image_directory in the dataset TOML)"
    )
    return f"The folder holds {images}{without}. Next: musabi check{named}"


def _would_be_sent(published: "Published") -> str:
    lines = [f"  {name}  ({size:,} bytes)" for name, size in published.files]
    total = sum(size for _, size in published.files)
    return "\n".join(
        [
            f"Would be published to {published.place}{' for everybody to see' if published.public else ''}:",
            *lines,
            f"{len(lines)} files, {total:,} bytes. What is there already is not sent again.",
        ]
    )


def _was_sent(published: "Published") -> str:
    kept = f", {len(published.unchanged)} were there already" if published.unchanged else ""
    return f"Published to {published.address}: {len(published.sent)} files sent{kept}."


def register(app: typer.Typer) -> None:
    """Add these verbs to the command line."""
    app.command("publish")(publish_verb)
    app.command("fetch")(fetch_verb)
