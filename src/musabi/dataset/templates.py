"""Fits the dataset template to a workspace."""

from musabi.workspace import Workspace


def dataset_toml(template: str, workspace: Workspace) -> str:
    """Return the text of `dataset.toml.example` with the image and cache folders of `workspace`.

    Comments and order stay. The template has one `[[datasets]]` table.
    """
    import tomlkit

    document = tomlkit.parse(template)
    dataset = document["datasets"][0]
    dataset["image_directory"] = str(workspace.images.absolute())
    dataset["cache_directory"] = str(workspace.cache.absolute())
    return tomlkit.dumps(document)
