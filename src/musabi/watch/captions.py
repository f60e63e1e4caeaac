"""The captions of a run's dataset, as it lies there now, and the words that they all begin with."""

from collections.abc import Sequence
from pathlib import Path

from musabi.dataset.caches import open_memory
from musabi.dataset.config import ANY_MODEL, read_config
from musabi.dataset.items import scan
from musabi.errors import MusabiError

# A beginning that holds nothing else calls up nothing in particular.
PLAIN_WORDS = frozenset(
    {"a", "an", "the", "this", "photo", "picture", "image", "of", "in", "on", "with", "and"}
)
MOST_WORDS = 6


def read_captions(dataset_config: Path) -> list[str] | None:
    """Return the captions of the images that are trained on, or None where the dataset can't be read."""
    try:
        config = read_config(dataset_config, ANY_MODEL)
        return [
            item.caption for dataset in config.datasets for item in scan(dataset, open_memory(dataset)).items
        ]
    except (MusabiError, OSError):
        return None


def common_beginning(captions: Sequence[str]) -> str | None:
    """Return the words that every caption begins with, up to a comma: the trigger word; None where there are none.

    One caption alone tells nothing, nor do words such as "a photo of".
    """
    if len(set(captions)) < 2:
        return None
    words = []
    for column in zip(*(caption.split()[:MOST_WORDS] for caption in captions), strict=False):
        bare = {word.rstrip(",.;:") for word in column}
        if len(bare) > 1:
            break
        words.append(bare.pop())
        if any(word != words[-1] for word in column):
            break
    if all(word.lower() in PLAIN_WORDS for word in words):
        return None
    return " ".join(words)
