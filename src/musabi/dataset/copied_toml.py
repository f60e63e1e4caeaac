"""The dataset TOML of a copy: the original's text with the folders of the copy."""

from collections.abc import Mapping
from pathlib import Path

FROM_JSONL = "image_jsonl_file"
CAPTIONS = ".txt"


def copied_toml(text: str, moved: Mapping[int, Mapping[str, Path]]) -> str:
    """Return the TOML `text` with new folders: `moved` maps the number of a table, from 1, to its keys.

    Comments and order stay. A JSONL file gives way to a folder with caption files.
    """
    import tomlkit

    document = tomlkit.parse(text)
    for number, folders in moved.items():
        table = document["datasets"][number - 1]
        for key, folder in folders.items():
            table[key] = str(folder)
        if table.pop(FROM_JSONL, None) is not None:
            table["caption_extension"] = CAPTIONS
    return tomlkit.dumps(document)
