"""What is brought about and looked at before a run is planned: weights, captions, the dataset."""

from pathlib import Path

from musabi.commands.check import progress_bar, what_to_check
from musabi.commands.show import say
from musabi.job.model import Job
from musabi.recipes import load
from musabi.recipes.job_for import places_of_weights
from musabi.settings import Settings
from musabi.whole import shards


def fetch_first(settings: Settings, job: Job, *, quiet: bool = False) -> None:
    """Fetch the model's files that are missing from the places that they are fetched to.

    A file that a setting such as DIT_PATH names is a person's own, and is not fetched.

    Raises:
        typer.Exit: it failed; what and why was said.
    """
    if job.engine != "musubi" or settings.skip_model_download:
        return
    own = places_of_weights(settings, load(job.model))
    missing = [role for role, path in own.items() if job.weights[role] == path and not _is_here(path)]
    from musabi.commands.fetching import fetch_model, missing_tokenizer_sets

    missing += missing_tokenizer_sets(settings, job.model)
    if not missing:
        return
    if not quiet:
        say(f"Fetching what {load(job.model).title} needs: {', '.join(missing)}.")
    fetch_model(settings, job.model, only=tuple(missing), as_json=quiet)


def read_first(settings: Settings, job: Job) -> None:
    """Read the dataset TOML and the prompts, so that a slip in them is found before anything is fetched.

    Raises:
        RequestError: one of them is wrong.
    """
    from musabi.dataset.prompts import prompt_rules, read_prompts

    what_to_check(settings)
    read_prompts(job.sample_prompts, prompt_rules(load(job.model)))


def caption_first(settings: Settings, *, quiet: bool = False) -> None:
    """Write the captions that are missing, where CAPTION_WITH asks for it.

    Raises:
        RequestError, MachineError, TrainerError: they can't be written.
    """
    if settings.caption_with is None:
        return
    from musabi.captioning.asked import caption_missing

    config, _ = what_to_check(settings)
    written = caption_missing(settings, config, (lambda _text: None) if quiet else say)
    if written and not quiet:
        say(f"Wrote {written} captions.")


def check_first(settings: Settings, *, quiet: bool = False) -> None:
    """Look at every image and caption, refuse what can't be trained on, and say what is odd.

    Raises:
        RequestError: the errors that were found, one a line.
    """
    from musabi.dataset.check import check_before_run

    config, asked = what_to_check(settings)
    with progress_bar("Looking at images", quiet=quiet) as progress:
        findings = check_before_run(config, asked, progress)
    for finding in () if quiet else findings:
        say(f"Warning: {finding.message}")


def _is_here(path: Path) -> bool:
    return all(shard.is_file() for shard in shards(path))
